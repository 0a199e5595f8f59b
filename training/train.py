"""The stage `stronglens train`: a recipe and a manifest become a model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from db.lock import only_one
from db.models import Split
from db.models.training import Model
from db.patience import patiently
from db.provenance import recorded_run
from db.settings import settings
from etl.storage import Store, open_store
from training import registry
from training.config import TrainConfig
from training.errors import CheckpointError, PreprocessingError, TrainingError
from training.fit import EpochResult
from training.gate import require_go
from training.labels import taught, taught_digest
from training.manifest import Manifest, named_manifest
from training.model import n_parameters, seeded_network
from training.progress import Progress, silent
from training.run.bring import bring_in, without_gate
from training.run.layout import run_folder
from training.run.read import FinishedRun
from training.run.work import Job, mark_imported, train_in
from training.source import ImageSource, Source, Wanted, open_source

PATIENCE_S = 60.0
"""So long a training that is done waits for a database that is away."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What became of a training; no epochs when the model was there already.

    `resumed_after` is the epoch after which an interrupted training went on; None for one that was not.
    """

    model_id: int
    name: str
    n_train: int
    n_val: int
    best_epoch: int
    epochs: tuple[EpochResult, ...]
    was_there: bool
    resumed_after: int | None = None


def train_model(
    engine: Engine, recipe: TrainConfig, progress: Progress = silent, *, source: Source = "auto"
) -> TrainResult:
    """Train the model of a recipe, unless it is there.

    An unfinished or failed model of the recipe's name is replaced. A finished one is kept: the same recipe and manifest
    change nothing, any other are refused. Where pixels are read from (`source`) changes no result. The training lives
    in its run folder: interrupted, it goes on there; and it needs the database only to begin, and when it is done.

    Raises
    ------
    MissingInputError, ManifestError, PreprocessingError, PackError
        When the manifest cannot be trained on.
    GateError
        When its cutouts were not validated as they are now, or the verdict is NO-GO, and the recipe accepts neither.
    TrainingError
        When the name is taken, or another process trains this model, or the database is away when the training is done.
    RunError
        When its run folder cannot be used.
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
        network = seeded_network(recipe.architecture, recipe.seed, recipe.initial_weights, manifest.digest())
        about = registry.About(recipe, manifest, n_parameters(network), accepted)
        del network
        folder = run_folder(recipe.name)
        with recorded_run(engine, command="train", config=recipe) as recorded:
            model_id = registry.begin_model(engine, recorded, about)

            def pixels() -> ImageSource:
                return open_source(engine, Wanted(manifest, recipe.preprocessing, source), store, progress)

            try:
                ledger = _Ledger(engine, model_id, folder)
                run, _ = train_in(folder, Job(recipe, manifest, pixels), progress, ledger.add)
                _finish(engine, store, run, (model_id, recorded.run_id))
            except BaseException as exc:
                _fail(engine, model_id, exc)
                raise
            mark_imported(folder)
    return TrainResult(
        model_id=model_id,
        name=recipe.name,
        n_train=run.description.n_train,
        n_val=run.description.n_val,
        best_epoch=run.checkpoint.epoch,
        epochs=run.epochs,
        was_there=False,
        resumed_after=run.description.resumed_after[-1] if run.description.resumed_after else None,
    )


class _Ledger:
    """Writes epochs to the database; those that it does not take wait, for it or for the end."""

    def __init__(self, engine: Engine, model_id: int, folder: Path) -> None:
        self.engine, self.model_id, self.folder = engine, model_id, folder
        self.waiting: list[EpochResult] = []

    def add(self, row: EpochResult) -> None:
        self.waiting.append(row)
        _log.info("epoch %d, validation AUC %.4f", row.epoch, row.val_auc)
        try:
            with self.engine.begin() as connection:
                registry.add_epochs(connection, self.model_id, self.waiting)
            self.waiting.clear()
        except (OperationalError, InterfaceError) as exc:
            if len(self.waiting) == 1:
                why = " ".join(str(exc.orig).split())
                _log.warning("the database is away, the training goes on in %s: %s", self.folder, why)


def _finish(engine: Engine, store: Store, run: FinishedRun, keys: tuple[int, int]) -> None:
    model_id, run_id = keys
    try:
        for attempt in patiently(PATIENCE_S):
            with attempt, engine.begin() as connection:
                bring_in(connection, store, run, model_id, run_id)
    except (OperationalError, InterfaceError) as exc:
        raise TrainingError(
            f"model {run.checkpoint.name!r} is trained, but the database is away: nothing is lost; when it is back, "
            f"run `stronglens training import {run.folder}`, or the same `stronglens train` again"
        ) from exc


def _fail(engine: Engine, model_id: int, reason: BaseException) -> None:
    try:
        registry.fail(engine, model_id, reason)
    except DBAPIError:
        _log.warning("the database is away: model %d stays marked as in training", model_id)


def _finished(engine: Engine, recipe: TrainConfig, manifest: Manifest, store: Store) -> Model | None:
    """The usable model of this very recipe and manifest; None when it is to be trained."""
    model = registry.named_model(engine, recipe.name)
    if model is None or model.status != "succeeded":
        return None
    if model.kind != "network":
        raise TrainingError(f"model {recipe.name!r} is an ensemble: choose another `name`")
    if without_gate(registry.recipe_of(engine, model)) != without_gate(recipe):
        raise TrainingError(f"model {recipe.name!r} was trained with another recipe: choose another `name`")
    if model.manifest_sha256 != manifest.digest():
        raise TrainingError(f"model {recipe.name!r} was trained on another manifest: choose another `name`")
    if model.taught_sha256 not in {None, taught_digest(taught(manifest, recipe))}:
        raise TrainingError(
            f"model {recipe.name!r} was taught other labels or weights than the manifest gives now (tiers or grades "
            "have changed): choose another `name`"
        )
    try:
        registry.load_checkpoint(model, store)
    except (CheckpointError, PreprocessingError) as exc:
        _log.warning("training %s again: %s", recipe.name, exc)
        return None
    return model


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
