"""The control: labels that say nothing, which no honest pipeline can learn from."""

from __future__ import annotations

from sqlalchemy import Engine

from db.models.training import Model
from training.deal import deal_labels
from training.errors import TrainingError
from training.manifest import Manifest, read_manifest
from training.registry import recipe_of


def control_manifest(engine: Engine, model: Model) -> Manifest:
    """Return a control's manifest with the labels that it was dealt, test split included.

    Raises
    ------
    TrainingError
        When the model is no control.
    """
    if not model.is_label_shuffled:
        raise TrainingError(f"model {model.name!r} is no control: it was trained on the true labels")
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    return deal_labels(manifest, recipe_of(engine, model).seed)
