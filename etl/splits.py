"""Stage 6: the sky's split, assigned to cells in one place, and the guard between splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import healpy
import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from sqlalchemy import Connection, Engine, Select, column, func, insert, literal, select, table, union_all
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import aliased

from db import sky
from db.config import NAME_PATTERN, StageConfig
from db.copy import copy_arrow, psycopg_connection
from db.errors import MissingInputError
from db.lock import only_one
from db.models import Split
from db.models.sampling import ClosePair, Draw, DrawMember, GuardDrop, SplitAssignment, SplitCell, SplitScheme
from db.provenance import recorded_run
from etl.errors import SamplingError

NSIDE = 128
CALIBRATION_BELOW = 0.5
"""Cells of val whose second hash is below this are the calibration part."""


class SplitConfig(StageConfig):
    """One rule that splits the sky."""

    name: str = Field(default="default", pattern=NAME_PATTERN)
    seed: int = Field(default=42, ge=0, lt=2**31)
    train_below: float = Field(default=0.70, gt=0, lt=1, allow_inf_nan=False)
    val_below: float = Field(default=0.85, gt=0, lt=1, allow_inf_nan=False)
    guard_arcsec: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> SplitConfig:
        if self.train_below >= self.val_below:
            message = f"train_below ({self.train_below:g}) must be less than val_below ({self.val_below:g})"
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class SplitSummary:
    """What a scheme holds after the guard has gone over every draw."""

    scheme: str
    cells: dict[str, int]
    members: dict[str, int]
    n_guard_drops: int
    n_leaks: int


def cell_u(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return the uniform number in [0, 1) of each HEALPix cell: first 4 bytes of SHA-256, big-endian, over 2^32.

    Parameters
    ----------
    pixels
        Cell numbers (nside 128, NESTED), shape (n,).
    seed
        Hashed with the number as ``f"{pixel}_{seed}"``.
    """
    return _hashed(pixels, str(seed))


def _hashed(pixels: np.ndarray, salt: str) -> np.ndarray:
    # SHA-256 has no vectorised form; the whole sky is 196,608 cells and takes a fifth of a second.
    first = b"".join(hashlib.sha256(f"{pixel}_{salt}".encode()).digest()[:4] for pixel in pixels.tolist())
    return np.frombuffer(first, dtype=">u4").astype(np.float64) / 2**32


def is_calibration_cell(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Say which cells of val are for calibration: half of them, by another hash than that of their split; shape (n,).

    Scores are calibrated and ensembles combined on this part, and no checkpoint is chosen on it.
    """
    return _hashed(pixels, f"{seed}_calibration") < CALIBRATION_BELOW


def split_of_cells(pixels: np.ndarray, config: SplitConfig) -> np.ndarray:
    """Return the split of each cell: train where u < train_below, val where u < val_below, else test; shape (n,)."""
    u = cell_u(pixels, config.seed)
    return np.where(u < config.train_below, Split.TRAIN, np.where(u < config.val_below, Split.VAL, Split.TEST))


def assign_splits(engine: Engine, config: SplitConfig) -> SplitSummary:
    """Give every cell of the sky its split, guard every draw, and look for leaks; a second run changes nothing.

    Raises
    ------
    MissingInputError
        When there is no draw to guard.
    SamplingError
        When a scheme of this name has other rules, or `results.split_leakage` is not empty.
    """
    with engine.connect() as connection:
        if not connection.scalar(select(func.count()).select_from(Draw)):
            raise MissingInputError("sampling.draw is empty: run `stronglens draw` first")
        _refuse_other_rules(connection, config)
    with only_one(engine, "the splits"), recorded_run(engine, command="splits assign", config=config) as run:
        with engine.begin() as connection:
            scheme_id = _ensure_scheme(connection, config, run.run_id)
            for draw_id in _unguarded_draws(connection, scheme_id):
                _guard_draw(connection, scheme_id, draw_id, config.guard_arcsec, run.run_id)
            summary = _summarise(connection, scheme_id, config.name)
        if summary.n_leaks:
            raise SamplingError(
                f"split scheme {config.name}: results.split_leakage has {summary.n_leaks} rows; "
                "look at them with `stronglens db psql -- -c 'TABLE results.split_leakage'` before training"
            )
    return summary


def _refuse_other_rules(connection: Connection, config: SplitConfig) -> None:
    scheme = connection.execute(select(SplitScheme.__table__).where(SplitScheme.name == config.name)).mappings().first()
    if scheme is None:
        return
    wanted = config.model_dump()
    differing = [f"{key} {scheme[key]} (asked: {value})" for key, value in wanted.items() if scheme[key] != value]
    if differing:
        raise SamplingError(f"split scheme {config.name} exists with {', '.join(differing)}: choose another name")


def _ensure_scheme(connection: Connection, config: SplitConfig, run_id: int) -> int:
    found = connection.scalar(select(SplitScheme.scheme_id).where(SplitScheme.name == config.name))
    if found is not None:
        return found
    scheme_id = connection.scalar(
        insert(SplitScheme).values(**config.model_dump(), nside=NSIDE, run_id=run_id).returning(SplitScheme.scheme_id)
    )
    pixels = np.arange(healpy.nside2npix(NSIDE), dtype=np.int32)
    split = split_of_cells(pixels, config)
    cells = pa.table(
        {
            "scheme_id": np.full(len(pixels), scheme_id, dtype=np.int32),
            "healpix_128": pixels,
            "split": split.astype(object),
            "is_calibration": (split == Split.VAL) & is_calibration_cell(pixels, config.seed),
        }
    )
    copy_arrow(psycopg_connection(connection), "sampling.split_cell", cells)
    return int(scheme_id or 0)


def _unguarded_draws(connection: Connection, scheme_id: int) -> list[int]:
    done = select(SplitAssignment.draw_id).where(SplitAssignment.scheme_id == scheme_id)
    return list(connection.scalars(select(Draw.draw_id).where(Draw.draw_id.not_in(done)).order_by(Draw.draw_id)))


def _guard_draw(connection: Connection, scheme_id: int, draw_id: int, guard_arcsec: float, run_id: int) -> None:
    """Find the close pairs of a draw and drop the negatives whose partner belongs to another split."""
    pairs = close_pairs(draw_id, guard_arcsec)
    connection.execute(
        insert_or(ClosePair)
        .from_select(["draw_id", "member_id", "other_member_id", "separation_arcsec"], pairs)
        .on_conflict_do_nothing()
    )
    connection.execute(
        insert_or(GuardDrop)
        .from_select(
            ["scheme_id", "member_id", "nearest_member_id", "separation_arcsec"],
            _drops(scheme_id, draw_id, guard_arcsec),
        )
        .on_conflict_do_nothing()
    )
    of_draw = (
        select(func.count())
        .select_from(ClosePair)
        .where(ClosePair.draw_id == draw_id, ClosePair.separation_arcsec <= guard_arcsec)
    )
    dropped = (
        select(func.count())
        .select_from(GuardDrop)
        .join(DrawMember, DrawMember.member_id == GuardDrop.member_id)
        .where(GuardDrop.scheme_id == scheme_id, DrawMember.draw_id == draw_id)
    )
    connection.execute(
        insert(SplitAssignment).values(
            scheme_id=scheme_id,
            draw_id=draw_id,
            n_close_pairs=connection.scalar(of_draw),
            n_guard_drops=connection.scalar(dropped),
            run_id=run_id,
        )
    )


def close_pairs(draw_id: int, radius_arcsec: float) -> Select[Any]:
    """Select every pair of members of a draw within a radius, the smaller key first."""
    first, second = aliased(DrawMember, name="first"), aliased(DrawMember, name="second")
    columns = (first.draw_id, first.member_id, second.member_id.label("other_member_id"))
    return sky.crossmatch(first, second, radius_arcsec=radius_arcsec, columns=columns).where(
        first.draw_id == draw_id, second.draw_id == draw_id, first.member_id < second.member_id
    )


def _drops(scheme_id: int, draw_id: int, guard_arcsec: float) -> Select[Any]:
    """Select each negative of a close pair across splits with its nearest such partner."""
    both = union_all(
        select(ClosePair.member_id, ClosePair.other_member_id.label("partner_id"), ClosePair.separation_arcsec).where(
            ClosePair.draw_id == draw_id, ClosePair.separation_arcsec <= guard_arcsec
        ),
        select(ClosePair.other_member_id, ClosePair.member_id, ClosePair.separation_arcsec).where(
            ClosePair.draw_id == draw_id, ClosePair.separation_arcsec <= guard_arcsec
        ),
    ).subquery("both")
    member, partner = aliased(DrawMember, name="member"), aliased(DrawMember, name="partner")
    own, other = aliased(SplitCell, name="own"), aliased(SplitCell, name="other")
    return (
        select(literal(scheme_id), member.member_id, both.c.partner_id, both.c.separation_arcsec)
        .ext(distinct_on(member.member_id))
        .select_from(both)
        .join(member, member.member_id == both.c.member_id)
        .join(partner, partner.member_id == both.c.partner_id)
        .join(own, (own.scheme_id == scheme_id) & (own.healpix_128 == member.healpix_128))
        .join(other, (other.scheme_id == scheme_id) & (other.healpix_128 == partner.healpix_128))
        .where(member.label == 0, own.split != other.split)
        .order_by(member.member_id, both.c.separation_arcsec, both.c.partner_id)
    )


def _summarise(connection: Connection, scheme_id: int, name: str) -> SplitSummary:
    cells = select(SplitCell.split, func.count()).where(SplitCell.scheme_id == scheme_id).group_by(SplitCell.split)
    members = (
        select(SplitCell.split, func.count())
        .join(DrawMember, DrawMember.healpix_128 == SplitCell.healpix_128)
        .where(SplitCell.scheme_id == scheme_id)
        .group_by(SplitCell.split)
    )
    drops = select(func.count()).select_from(GuardDrop).where(GuardDrop.scheme_id == scheme_id)
    leakage = table("split_leakage", column("violation"), schema="results")
    return SplitSummary(
        scheme=name,
        cells=dict(connection.execute(cells).all()),
        members=dict(connection.execute(members).all()),
        n_guard_drops=connection.scalar(drops) or 0,
        n_leaks=connection.scalar(select(func.count()).select_from(leakage)) or 0,
    )
