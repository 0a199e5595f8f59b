"""The half of the conditions that a model was trained on, as an axis that its recall is compared across."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Engine

from analysis.evaluation.axes import UNKNOWN, Bin
from analysis.evaluation.conditions import Axis
from analysis.scores import ScoredObjects
from db.models.training import Model
from training.labels import domain_mask, unseen_mask
from training.manifest import Manifest
from training.registry import recipe_of

BINS = (Bin("trained half"), Bin("unseen half"), Bin(UNKNOWN))


def domain_axis(engine: Engine, model: Model, manifest: Manifest, objects: ScoredObjects) -> list[Axis]:
    """Return the axis of a network that was trained on half of a condition; nothing for another."""
    recipe = recipe_of(engine, model) if model.kind == "network" else None
    if recipe is None or recipe.domain is None:
        return []
    half = np.full(len(manifest), 2, dtype=np.int64)
    half[domain_mask(manifest, recipe)] = 0
    half[unseen_mask(manifest, recipe)] = 1
    return [Axis("domain", BINS, half[np.searchsorted(manifest.cutout_id, objects.cutout_id)])]
