"""Spatial folds: split schemes that hold one part of the sky out, for cross-validation.

A fold is made of coarse HEALPix cells, so that what is tested lies degrees away from most of what was trained on. Every
member outside the test sky of the base scheme is held out by exactly one fold; the members near it give way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sqlalchemy import Connection, Engine, func, select

from db.config import NAME_PATTERN, StageConfig
from db.errors import MissingInputError
from db.lock import only_one
from db.models import Split
from db.models.sampling import Draw, DrawMember, GuardDrop, SplitAssignment, SplitCell, SplitScheme
from db.provenance import recorded_run
from etl.errors import SamplingError
from etl.guard import Guard, guard_draws
from etl.splits import CALIBRATION_BELOW, CELLS, NSIDE, add_scheme, count_leaks, find_scheme, hashed, refuse_leaks


class FoldConfig(StageConfig):
    """Rules of the folds of one cross-validation; `name` is `cv` and the number of folds unless given."""

    name: str | None = Field(default=None, pattern=NAME_PATTERN, max_length=90)
    base: str = "default"
    """The scheme whose test sky no fold uses."""
    n_folds: int = Field(default=5, ge=2, le=20)
    fold_nside: Literal[1, 2, 4, 8, 16, 32, 64] = 8
    """8: cells of 7.3 degrees."""
    seed: int = Field(default=42, ge=0, lt=2**31)
    val_fraction: float = Field(default=0.15, gt=0, lt=1, allow_inf_nan=False)
    """Share of the coarse cells outside of the fold; half of them, by another hash, are for calibration."""
    guard_arcsec: float = Field(default=300.0, gt=0, le=3600, allow_inf_nan=False)

    def scheme_name(self, fold: int) -> str:
        """Name of the scheme that holds a fold out."""
        return f"{self.name or f'cv{self.n_folds}'}-f{fold}"


@dataclass(frozen=True)
class FoldSummary:
    """The manifest members of one fold's scheme by split, and what left it."""

    scheme: str
    scheme_id: int
    members: dict[str, int]
    positives: dict[str, int]
    n_guard_drops: int
    n_test_sky_drops: int


def coarse_cells(pixels: npt.NDArray[np.int32], fold_nside: int) -> npt.NDArray[np.int32]:
    """Return the coarse cell that each cell of nside 128 (NESTED) lies in; shape (n,)."""
    coarse: npt.NDArray[np.int32] = pixels // (NSIDE // fold_nside) ** 2
    return coarse


def fold_of_coarse(coarse: npt.NDArray[np.int32], config: FoldConfig) -> npt.NDArray[np.int64]:
    """Return the fold of each coarse cell, floor(u n_folds) of a hash of its own; shape (n,)."""
    folds: npt.NDArray[np.int64] = np.floor(hashed(coarse, f"{config.seed}_fold") * config.n_folds).astype(np.int64)
    return folds


def split_of_fold(
    coarse: npt.NDArray[np.int32], config: FoldConfig, fold: int
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """Return split and calibration part of each coarse cell when a fold is held out; two of shape (n,)."""
    is_val = hashed(coarse, f"{config.seed}_val_{fold}") >= 1 - config.val_fraction
    is_test = fold_of_coarse(coarse, config) == fold
    split = np.where(is_test, Split.TEST, np.where(is_val, Split.VAL, Split.TRAIN))
    is_calibration = hashed(coarse, f"{config.seed}_calibration") < CALIBRATION_BELOW
    return split, (split == Split.VAL) & is_calibration


def assign_folds(engine: Engine, config: FoldConfig) -> list[FoldSummary]:
    """Make the scheme of every fold, guard every draw, and look for leaks; a second run changes nothing.

    Raises
    ------
    MissingInputError
        When there is no draw to guard, or no base scheme, or it was not assigned to some draw.
    SamplingError
        When a scheme of such a name has other rules, or `results.split_leakage` is not empty.
    """
    with engine.connect() as connection:
        base_id = _base(connection, config.base)
    with (
        only_one(engine, "the splits"),
        recorded_run(engine, command="splits assign", config=config) as run,
        engine.begin() as connection,
    ):
        found = []
        for fold in range(config.n_folds):
            scheme_id = _ensure_fold(connection, config, fold, base_id, run.run_id)
            guard_draws(connection, Guard(scheme_id, config.guard_arcsec, base_id), run.run_id)
            found.append(_summarise(connection, scheme_id, config.scheme_name(fold)))
        refuse_leaks(found[0].scheme, count_leaks(connection))
    return found


def _base(connection: Connection, name: str) -> int:
    base = connection.execute(
        select(SplitScheme.scheme_id, SplitScheme.kind).where(SplitScheme.name == name)
    ).one_or_none()
    if base is None:
        raise MissingInputError(f"split scheme {name!r} is not there: run `stronglens splits assign` first")
    if base.kind != "hash":
        raise SamplingError(f"split scheme {name!r} is a fold itself: give the scheme that it is based on")
    guarded = select(SplitAssignment.draw_id).where(SplitAssignment.scheme_id == base.scheme_id)
    if connection.scalar(select(Draw.name).where(Draw.draw_id.not_in(guarded)).limit(1)) is not None:
        raise MissingInputError(f"split scheme {name!r} was not assigned to every draw: run `stronglens splits assign`")
    return int(base.scheme_id)


def _ensure_fold(connection: Connection, config: FoldConfig, fold: int, base_id: int, run_id: int) -> int:
    values = {
        "name": config.scheme_name(fold),
        "kind": "fold",
        "base_scheme_id": base_id,
        "seed": config.seed,
        "train_below": 1 - config.val_fraction,
        "val_below": 1.0,
        "guard_arcsec": config.guard_arcsec,
        "fold_nside": config.fold_nside,
        "n_folds": config.n_folds,
        "fold": fold,
    }
    scheme_id = find_scheme(connection, values)
    if scheme_id is not None:
        return scheme_id
    coarse = np.arange(12 * config.fold_nside**2, dtype=np.int32)
    split, is_calibration = split_of_fold(coarse, config, fold)
    of_cell = coarse_cells(CELLS, config.fold_nside)
    return add_scheme(connection, values, split[of_cell], is_calibration[of_cell], run_id)


def _summarise(connection: Connection, scheme_id: int, name: str) -> FoldSummary:
    dropped = select(GuardDrop.member_id).where(GuardDrop.scheme_id == scheme_id)
    members = (
        select(SplitCell.split, func.count(), func.sum(DrawMember.label))
        .join(DrawMember, DrawMember.healpix_128 == SplitCell.healpix_128)
        .where(SplitCell.scheme_id == scheme_id, DrawMember.member_id.not_in(dropped))
        .group_by(SplitCell.split)
    )
    rows = connection.execute(members).all()
    drops = connection.execute(
        select(GuardDrop.reason, func.count()).where(GuardDrop.scheme_id == scheme_id).group_by(GuardDrop.reason)
    )
    n_dropped = dict(drops.all())
    return FoldSummary(
        scheme=name,
        scheme_id=scheme_id,
        members={split: int(n) for split, n, _ in rows},
        positives={split: int(n) for split, _, n in rows},
        n_guard_drops=n_dropped.get("guard", 0),
        n_test_sky_drops=n_dropped.get("test_sky", 0),
    )
