"""Scored objects made up in memory, and a model to hang their results on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from scipy.special import expit
from sqlalchemy import Connection

from analysis.scores import ScoredObjects
from tests.builders import insert_draw
from tests.etl.draw_world import insert_model, insert_scheme


def scored_objects(**columns: Any) -> ScoredObjects:
    """Objects with the columns given; all others are empty words, NaN, or zero."""
    n = len(columns["score"])
    empty = {
        "str_": np.full(n, ""),
        "float64": np.full(n, np.nan),
        "int64": np.zeros(n, int),
        "bool_": np.zeros(n, bool),
    }
    made = {f.name: next(v for kind, v in empty.items() if kind in str(f.type)) for f in fields(ScoredObjects)}
    return ScoredObjects(**made | {"cutout_id": np.arange(n)} | columns)


def overconfident(n: int = 12_000, seed: int = 6) -> tuple[ScoredObjects, np.ndarray]:
    """Objects of val (its halves by cell) and test; their probability is known, the score is of twice its log-odds."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-3, 2, n)
    label = (rng.random(n) < expit(z)).astype(int)
    cell = rng.integers(0, 400, n)
    split = np.where(cell % 4 == 3, "test", "val")
    objects = scored_objects(
        score=expit(2 * z),
        label=label,
        pool=np.where(label == 1, "positive", "N1"),
        discovery=np.where(label == 1, "ground_imaging", ""),
        tier=np.where(label == 1, rng.choice(["A", "B"], n), ""),
        split=split,
        is_calibration=(split == "val") & (cell % 2 == 0),
        healpix_128=cell,
        inclusion_probability=np.where(label == 1, np.nan, rng.choice([0.1, 0.5], n)),
    )
    return objects, expit(z)


def model_of(connection: Connection) -> int:
    """A model without scores, of an empty draw."""
    insert_draw(connection)
    insert_scheme(connection)
    return insert_model(connection, draw="d")
