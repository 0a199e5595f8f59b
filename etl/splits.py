"""Stage 6: the sky's split, assigned to cells in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import healpy
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator
from sqlalchemy import Connection, Engine, column, func, insert, select, table

from db.config import NAME_PATTERN, StageConfig
from db.copy import copy_arrow, psycopg_connection
from db.errors import MissingInputError
from db.lock import only_one
from db.models import Split
from db.models.sampling import Draw, DrawMember, GuardDrop, SplitCell, SplitScheme
from db.provenance import recorded_run
from db.statements import statement
from etl.errors import SamplingError
from etl.guard import Guard, guard_draws

NSIDE = 128
CELLS = np.arange(healpy.nside2npix(NSIDE), dtype=np.int32)
"""Every cell of the sky."""
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
    return hashed(pixels, str(seed))


def hashed(pixels: np.ndarray, salt: str) -> np.ndarray:
    """Return the uniform number of each cell by the hash of ``f"{pixel}_{salt}"``; shape (n,)."""
    # SHA-256 has no vectorised form; the whole sky is 196,608 cells and takes a fifth of a second.
    first = b"".join(hashlib.sha256(f"{pixel}_{salt}".encode()).digest()[:4] for pixel in pixels.tolist())
    return np.frombuffer(first, dtype=">u4").astype(np.float64) / 2**32


def is_calibration_cell(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Say which cells of val are for calibration: half of them, by another hash than that of their split; shape (n,).

    Scores are calibrated and ensembles combined on this part, and no checkpoint is chosen on it.
    """
    return hashed(pixels, f"{seed}_calibration") < CALIBRATION_BELOW


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
        find_scheme(connection, config.model_dump())
    with only_one(engine, "the splits"), recorded_run(engine, command="splits assign", config=config) as run:
        with engine.begin() as connection:
            values = config.model_dump()
            scheme_id = find_scheme(connection, values)
            if scheme_id is None:
                split = split_of_cells(CELLS, config)
                is_calibration = (split == Split.VAL) & is_calibration_cell(CELLS, config.seed)
                scheme_id = add_scheme(connection, values, split, is_calibration, run.run_id)
            guard_draws(connection, Guard(scheme_id, config.guard_arcsec), run.run_id)
            summary = _summarise(connection, scheme_id, config.name)
        refuse_leaks(config.name, summary.n_leaks)
    return summary


def find_scheme(connection: Connection, values: Mapping[str, object]) -> int | None:
    """Return the key of the scheme with these columns; None when its name is free.

    Raises
    ------
    SamplingError
        When a scheme of this name has other rules.
    """
    wanted = {"kind": "hash"} | dict(values)
    columns = SplitScheme.__table__.c
    scheme = connection.execute(select(*columns).where(columns.name == wanted["name"])).mappings().first()
    if scheme is None:
        return None
    differing = [f"{key} {scheme[key]} (asked: {value})" for key, value in wanted.items() if scheme[key] != value]
    if differing:
        raise SamplingError(f"split scheme {scheme['name']} exists with {', '.join(differing)}: choose another name")
    return int(scheme["scheme_id"])


def add_scheme(
    connection: Connection,
    values: Mapping[str, object],
    split: npt.NDArray[np.str_],
    is_calibration: npt.NDArray[np.bool_],
    run_id: int,
) -> int:
    """Insert a scheme with the split of each cell of the sky, shape (196608,); returns its key."""
    scheme_id = connection.execute(
        insert(SplitScheme).values(**values, nside=NSIDE, run_id=run_id).returning(SplitScheme.scheme_id)
    ).scalar_one()
    cells = pa.table(
        {
            "scheme_id": np.full(len(CELLS), scheme_id, dtype=np.int32),
            "healpix_128": CELLS,
            "split": split.astype(object),
            "is_calibration": is_calibration,
        }
    )
    copy_arrow(psycopg_connection(connection), "sampling.split_cell", cells)
    return scheme_id


def count_leaks(connection: Connection) -> int:
    """Count the rows of `results.split_leakage`, after cells and pairs were written in this transaction."""
    connection.execute(statement("splits_analyze"))
    leakage = table("split_leakage", column("violation"), schema="results")
    return connection.scalar(select(func.count()).select_from(leakage)) or 0


def refuse_leaks(name: str, n_leaks: int) -> None:
    """Check that there are none.

    Raises
    ------
    SamplingError
        When there are.
    """
    if n_leaks:
        raise SamplingError(
            f"split scheme {name}: results.split_leakage has {n_leaks} rows; "
            "look at them with `stronglens db psql -- -c 'TABLE results.split_leakage'` before training"
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
    return SplitSummary(
        scheme=name,
        cells=dict(connection.execute(cells).all()),
        members=dict(connection.execute(members).all()),
        n_guard_drops=connection.scalar(drops) or 0,
        n_leaks=count_leaks(connection),
    )
