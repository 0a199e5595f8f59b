"""Models that were never trained: their rows and scores are put where training and scoring would put them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, func, insert, select, update

from db.models.sampling import Draw, SplitCell, SplitScheme
from db.models.training import Model, Score
from db.provenance import recorded_run
from training.config import TrainConfig
from training.manifest import Manifest, named_manifest


def calibrate_on_half_of_val(engine: Engine) -> None:
    """Every second cell of val is a calibration cell."""
    with engine.begin() as connection:
        half = SplitCell.split == "val", SplitCell.healpix_128 % 2 == 0
        connection.execute(update(SplitCell).where(*half).values(is_calibration=True))


def world_manifest(engine: Engine) -> Manifest:
    """The manifest of the small world."""
    return named_manifest(engine, "rings", "cells", "v1")


def insert_scored(engine: Engine, recipe: TrainConfig, scores: npt.NDArray[np.float64] | None, **columns: Any) -> int:
    """A finished network of a recipe, with scores of the whole manifest in its order; NaN: not scored."""
    manifest = world_manifest(engine)
    with recorded_run(engine, command="test model", config=recipe) as run, engine.begin() as connection:
        keys = {
            "draw_id": connection.scalar(select(Draw.draw_id)),
            "scheme_id": connection.scalar(select(SplitScheme.scheme_id)),
        }
        values: dict[str, Any] = {
            "name": recipe.name,
            "survey": "mock",
            "cutout_version": "v1",
            "architecture": recipe.architecture,
            "n_parameters": 10,
            "config_sha256": run.config_sha256,
            "preprocessing": recipe.preprocessing.model_dump(mode="json"),
            "manifest_sha256": manifest.digest(),
            "n_train": 120,
            "n_val": 45,
            "status": "succeeded",
            "checkpoint_uri": "store:none",
            "checkpoint_sha256": "0" * 64,
            "run_id": run.run_id,
        }
        model_id = connection.scalar(insert(Model).values(values | keys | columns).returning(Model.model_id))
        rows = [
            {"model_id": model_id, "cutout_id": key, "score": score, "run_id": run.run_id}
            for key, score in zip(manifest.cutout_id.tolist(), [] if scores is None else scores.tolist(), strict=False)
            if not np.isnan(score)
        ]
        if rows:
            connection.execute(insert(Score), rows)
    return int(model_id or 0)


def count(engine: Engine, *tables: Any) -> list[int]:
    """Rows of some tables."""
    with engine.connect() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
