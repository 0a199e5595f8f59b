"""Scores of one model with what is known of each object, read once from `results.scores`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, case, column, literal, null, select, table

from analysis.errors import NoScoresError
from db.models.sampling import STRATUM_TYPES

INTEGERS = ("cutout_id", "label", "healpix_128")
NUMBERS = (
    "score",
    "inclusion_probability",
    "dec",
    "mag_r_ab",
    "nobs_z",
    "psf_fwhm_z_arcsec",
    "galdepth_z_ab",
    "ebv_mag",
)
WORDS = (
    "pool",
    "category",
    "tier",
    "discovery",
    "split",
    "nobs_z_bin",
    "stratum_type",
    "type",
    "best_letter_grade",
)
COLUMNS = (*INTEGERS, *NUMBERS, *WORDS, "is_calibration")

HELD_OUT = "held_out"
"""What stands for the pool of a discovery that was kept from training."""


@dataclass(frozen=True)
class ScoredObjects:
    """Columns of `results.scores` for one model, each of shape (n,); an absent word is empty, a number NaN.

    `pool` is positive, N1 or N2, or held_out of a discovery that was kept from training.
    """

    cutout_id: NDArray[np.int64]
    score: NDArray[np.float64]
    label: NDArray[np.int64]
    pool: NDArray[np.str_]
    category: NDArray[np.str_]
    tier: NDArray[np.str_]
    discovery: NDArray[np.str_]
    split: NDArray[np.str_]
    nobs_z_bin: NDArray[np.str_]
    stratum_type: NDArray[np.str_]
    healpix_128: NDArray[np.int64]
    is_calibration: NDArray[np.bool_]
    inclusion_probability: NDArray[np.float64]
    type: NDArray[np.str_]
    best_letter_grade: NDArray[np.str_]
    dec: NDArray[np.float64]
    mag_r_ab: NDArray[np.float64]
    nobs_z: NDArray[np.float64]
    psf_fwhm_z_arcsec: NDArray[np.float64]
    galdepth_z_ab: NDArray[np.float64]
    ebv_mag: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.cutout_id)

    def where(self, keep: NDArray[np.bool_]) -> ScoredObjects:
        """Return the objects that a mask of shape (n,) keeps."""
        return ScoredObjects(**{name: getattr(self, name)[keep] for name in COLUMNS})


def read_scores(connection: Connection, model_id: int, model_name: str, splits: Sequence[str]) -> ScoredObjects:
    """Read the scores of a model in some splits, ordered by cutout; nothing of the others is read.

    Raises
    ------
    NoScoresError
        When there are none.
    """
    view = table("scores", column("model_id"), *map(column, COLUMNS), schema="results")
    statement = (
        select(*(view.c[name] for name in COLUMNS))
        .where(view.c.model_id == model_id, view.c.split.in_(splits))
        .order_by(view.c.cutout_id)
    )
    rows = connection.execute(statement).all()
    if not rows:
        raise NoScoresError(f"model {model_name} has no scores: run `stronglens score {model_name}` first")
    return _objects(rows)


def read_held_out(connection: Connection, model_id: int, split: str | None) -> ScoredObjects:
    """Read the scores of the discoveries that were kept from training, in one split or, for None, wherever they lie.

    Empty where none was scored.
    """
    view = table("held_out_scores", column("model_id"), *map(column, COLUMNS), schema="results")
    has_stratum = view.c.type.in_(STRATUM_TYPES) & view.c.nobs_z_bin.is_not(None)
    made: dict[str, ColumnElement[Any]] = {
        "label": literal(1),
        "pool": literal(HELD_OUT),
        "stratum_type": case((has_stratum, view.c.type)),
        "nobs_z_bin": case((has_stratum, view.c.nobs_z_bin)),
        **dict.fromkeys(("inclusion_probability", "category", "tier"), null()),
    }
    statement = (
        select(*(made.get(name, view.c[name]).label(name) for name in COLUMNS))
        .where(view.c.model_id == model_id)
        .order_by(view.c.cutout_id)
    )
    if split is not None:
        statement = statement.where(view.c.split == split)
    return _objects(connection.execute(statement).all())


def _objects(rows: Sequence[Sequence[Any]]) -> ScoredObjects:
    held = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(COLUMNS, ())
    arrays: dict[str, Any] = {name: np.array(held[name], dtype=np.int64) for name in INTEGERS}
    arrays |= {name: np.array(held[name], dtype=np.float64) for name in NUMBERS}
    arrays |= {name: np.array([word or "" for word in held[name]], dtype=np.str_) for name in WORDS}
    return ScoredObjects(**arrays, is_calibration=np.array(held["is_calibration"], dtype=np.bool_))
