"""Scores and embeddings into the database, by COPY; what is there already stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Engine, select

from db.copy import copy_arrow, psycopg_connection
from db.models.training import Embedding, Score

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """What a model says of some cutouts, in their order; shapes (n,), (n,) and (n, d), or no embeddings."""

    cutout_id: Keys
    scores: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Written:
    """The cutouts that have a score of a model, and an embedding."""

    scores: Keys
    embeddings: Keys

    def lacking(self, cutout_id: Keys, *, embeddings: bool) -> npt.NDArray[np.bool_]:
        """Tell which cutouts have no score, or no embedding where they are wanted; shape (n,)."""
        lacking = ~np.isin(cutout_id, self.scores)
        return lacking | ~np.isin(cutout_id, self.embeddings) if embeddings else lacking


def read_written(engine: Engine, model_id: int) -> Written:
    """Ask what is there."""
    with engine.connect() as connection:
        keys = (
            connection.scalars(select(table.cutout_id).where(table.model_id == model_id)).all()
            for table in (Score, Embedding)
        )
        return Written(*(np.array(found, dtype=np.int64) for found in keys))


def write_answers(engine: Engine, model_id: int, run_id: int, answers: Answers, there: Written) -> None:
    """Write the answers that are not there, in one transaction."""
    new = ~np.isin(answers.cutout_id, there.scores)
    tables = {"training.score": _rows(model_id, run_id, answers.cutout_id[new], score=pa.array(answers.scores[new]))}
    if answers.embeddings is not None:
        new = ~np.isin(answers.cutout_id, there.embeddings)
        n_features = answers.embeddings.shape[1]
        flat = pa.array(np.ascontiguousarray(answers.embeddings[new]).reshape(-1))
        ends = np.arange(0, len(flat) + 1, n_features, dtype=np.int32)
        vectors = pa.ListArray.from_arrays(pa.array(ends), flat)
        tables["training.embedding"] = _rows(model_id, run_id, answers.cutout_id[new], vector=vectors)
    with engine.begin() as connection:
        for name, rows in tables.items():
            copy_arrow(psycopg_connection(connection), name, rows)


def _rows(model_id: int, run_id: int, cutout_id: Keys, **columns: pa.Array) -> pa.Table:
    n = len(cutout_id)
    return pa.table(
        {
            "model_id": pa.array(np.full(n, model_id), pa.int32()),
            "cutout_id": pa.array(cutout_id),
            **columns,
            "run_id": pa.array(np.full(n, run_id), pa.int64()),
        }
    )
