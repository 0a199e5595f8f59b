"""The stage `stronglens train`: a recipe and a manifest become a model."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from sqlalchemy import Engine

from db.lock import only_one
from db.models import Split
from db.models.training import Model
from db.provenance import recorded_run
from db.settings import settings
from etl.storage import Store, open_store
from training import registry
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, PreprocessingError, TrainingError
from training.fit import EpochResult, Fitted, Part, fit
from training.gate import require_go
from training.labels import Taught, taught
from training.manifest import Manifest, named_manifest
from training.model import choose_device, n_parameters, seeded_network
from training.progress import Progress, silent
from training.source import ImageSource, Source, Wanted, open_source

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What became of a training; no epochs when the model was there already."""

    model_id: int
    name: str
    n_train: int
    n_val: int
    best_epoch: int
    epochs: tuple[EpochResult, ...]
    was_there: bool


def train_model(
    engine: Engine, recipe: TrainConfig, progress: Progress = silent, *, source: Source = "auto"
) -> TrainResult:
    """Train the model of a recipe, unless it is there.

    An unfinished or failed model of the recipe's name is replaced. A finished one is kept: the same recipe and manifest
    change nothing, any other are refused. Where pixels are read from (`source`) changes no result.

    Raises
    ------
    MissingInputError, ManifestError, PreprocessingError, PackError
        When the manifest cannot be trained on.
    GateError
        When its cutouts were not validated as they are now, or the verdict is NO-GO, and the recipe accepts neither.
    TrainingError
        When the name is taken, or another process trains this model.
    CollapsedError
        When training collapses; the model's row then says so.
    """
    manifest = named_manifest(engine, recipe.draw, recipe.scheme, recipe.cutout_version)
    manifest.require_both_classes(Split.TRAIN, Split.VAL)
    manifest.require_layout(recipe.preprocessing)
    environment = settings()
    store = open_store(environment.store, environment.s3_endpoint_url)
    with only_one(engine, f"model {recipe.name!r}"):
        there = _finished(engine, recipe, manifest, store)
        if there is not None:
            return _was_there(there)
        accepted = require_go(engine, recipe, manifest)
        device = choose_device(recipe.device)
        network = seeded_network(recipe.architecture, recipe.seed, recipe.initial_weights)
        with recorded_run(engine, command="train", config=recipe) as run:
            about = registry.About(recipe, manifest, n_parameters(network), accepted)
            model_id = registry.begin_model(engine, run, about)
            epochs: list[EpochResult] = []

            def record(result: EpochResult) -> None:
                registry.add_epoch(engine, model_id, result)
                epochs.append(result)
                _log.info("%s: epoch %d, validation AUC %.4f", recipe.name, result.epoch, result.val_auc)

            try:
                images = open_source(engine, Wanted(manifest, recipe.preprocessing, source), store, progress)
                parts = parts_of(manifest, recipe, images, progress, device)
                fitted = fit(network.to(device), parts, recipe, record, progress)
                registry.succeed(engine, model_id, run.run_id, checkpoint_of(recipe, manifest, fitted), store)
            except BaseException as exc:
                registry.fail(engine, model_id, exc)
                raise
    return TrainResult(
        model_id=model_id,
        name=recipe.name,
        n_train=len(parts[0].labels),
        n_val=len(parts[1].labels),
        best_epoch=fitted.best.epoch,
        epochs=tuple(epochs),
        was_there=False,
    )


def _finished(engine: Engine, recipe: TrainConfig, manifest: Manifest, store: Store) -> Model | None:
    """The usable model of this very recipe and manifest; None when it is to be trained."""
    model = registry.named_model(engine, recipe.name)
    if model is None or model.status != "succeeded":
        return None
    if _without_gate(registry.recipe_of(engine, model)) != _without_gate(recipe):
        raise TrainingError(f"model {recipe.name!r} was trained with another recipe: choose another `name`")
    if model.manifest_sha256 != manifest.digest():
        raise TrainingError(f"model {recipe.name!r} was trained on another manifest: choose another `name`")
    try:
        registry.load_checkpoint(model, store)
    except (CheckpointError, PreprocessingError) as exc:
        _log.warning("training %s again: %s", recipe.name, exc)
        return None
    return model


def _without_gate(recipe: TrainConfig) -> TrainConfig:
    return recipe.model_copy(update={"accept_gate": None})


def _was_there(model: Model) -> TrainResult:
    return TrainResult(
        model_id=model.model_id,
        name=model.name,
        n_train=model.n_train,
        n_val=model.n_val,
        best_epoch=model.best_epoch or 0,
        epochs=(),
        was_there=True,
    )


def parts_of(
    manifest: Manifest, recipe: TrainConfig, source: ImageSource, progress: Progress, device: torch.device
) -> tuple[Part, Part]:
    """Give what a recipe trains on, and what it chooses its epoch by, with the targets that it teaches."""
    train, choice = (_part(part, source, progress, device) for part in taught(manifest, recipe))
    return train, choice


def _part(part: Taught, source: ImageSource, progress: Progress, device: torch.device) -> Part:
    return Part(
        images=source.images(part.manifest, progress, device),
        labels=torch.from_numpy(part.manifest.label).float(),
        weights=torch.from_numpy(part.manifest.weight),
    )


def checkpoint_of(recipe: TrainConfig, manifest: Manifest, fitted: Fitted) -> Checkpoint:
    """What a recipe became on a manifest."""
    return Checkpoint(
        name=recipe.name,
        architecture=recipe.architecture,
        bands=recipe.preprocessing.bands,
        preprocessing=recipe.preprocessing,
        config=recipe.model_dump(mode="json"),
        manifest_sha256=manifest.digest(),
        epoch=fitted.best.epoch,
        state=fitted.state,
    )
