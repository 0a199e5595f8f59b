"""Scores of one model with what is known of each object, read once from `results.scores`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, column, select, table

from analysis.errors import NoScoresError

COLUMNS = (
    "cutout_id",
    "score",
    "label",
    "pool",
    "category",
    "tier",
    "discovery",
    "split",
    "nobs_z_bin",
    "stratum_type",
    "healpix_128",
)


@dataclass(frozen=True)
class ScoredObjects:
    """Columns of `results.scores` for one model, each of shape (n,); absent words are empty strings."""

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

    def where(self, keep: NDArray[np.bool_]) -> ScoredObjects:
        """Return the objects that a mask of shape (n,) keeps."""
        return ScoredObjects(**{name: getattr(self, name)[keep] for name in COLUMNS})


def read_scores(connection: Connection, model_id: int, model_name: str) -> ScoredObjects:
    """Read the scores of a model, ordered by cutout.

    Raises
    ------
    NoScoresError
        When the model has none.
    """
    view = table("scores", column("model_id"), *(column(name) for name in COLUMNS), schema="results")
    statement = (
        select(*(view.c[name] for name in COLUMNS)).where(view.c.model_id == model_id).order_by(view.c.cutout_id)
    )
    rows = connection.execute(statement).all()
    if not rows:
        raise NoScoresError(f"model {model_name} has no scores: run `stronglens score {model_name}` first")
    values = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    integers, words = ("cutout_id", "label", "healpix_128"), COLUMNS[3:-1]
    arrays: dict[str, Any] = {name: np.array(values[name], dtype=np.int64) for name in integers}
    arrays |= {name: np.array([word or "" for word in values[name]], dtype=np.str_) for name in words}
    return ScoredObjects(score=np.array(values["score"], dtype=np.float64), **arrays)
