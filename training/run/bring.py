"""A finished run into the database: its model, epochs, checkpoint and scores, all of it or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from db.copy import copy_arrow, psycopg_connection
from db.lock import only_one
from db.models.provenance import Artifact
from db.models.training import Model, Score
from db.provenance import recorded_run
from db.settings import settings
from etl.storage import Store, open_store
from training import registry
from training.config import TrainConfig
from training.errors import CheckpointError, RunError, TrainingError
from training.gate import require_go
from training.labels import taught
from training.manifest import Manifest, named_manifest
from training.run import layout
from training.run.layout import ManifestIdentity
from training.run.read import FinishedRun, open_run
from training.run.work import mark_imported


@dataclass(frozen=True)
class ImportResult:
    """What an import did; `was_there` when the model was in the database before."""

    model_id: int
    name: str
    n_epochs: int
    best_epoch: int
    n_scores: int
    was_there: bool


def import_run(engine: Engine, folder: Path, accept_gate: str | None = None) -> ImportResult:
    """Take a finished run into the database, unless it is there; a repetition adds only scores that are missing.

    An unfinished or failed model of its name is replaced, as by training.

    Parameters
    ----------
    accept_gate
        Why it may be taken in although its draw's validation does not say GO; None for what the run's recipe says.

    Raises
    ------
    RunError, CheckpointError
        When the folder is no finished run, or a file of it is missing or altered, or the manifest here is another.
    GateError
        When the verdict on its cutouts here is not GO and no reason is given.
    MissingInputError
        When this database does not have its draw, scheme or cutouts.
    TrainingError
        When its name is that of another model.
    BusyError
        When another process trains a model of its name.
    """
    run = open_run(folder)
    recipe = run.description.recipe
    if accept_gate is not None:
        recipe = recipe.model_copy(update={"accept_gate": accept_gate})
    manifest = named_manifest(engine, recipe.draw, recipe.scheme, recipe.cutout_version)
    _require_same_manifest(run, manifest)
    environment = settings()
    store = open_store(environment.store, environment.s3_endpoint_url)
    with only_one(engine, f"model {recipe.name!r}"):
        there = registry.named_model(engine, recipe.name)
        was_there = there is not None and there.status == "succeeded"
        if there is not None and was_there:
            _require_same_model(engine, run, there)
            n_scores = _mend(engine, store, run, there)
            model_id = there.model_id
        else:
            accepted = require_go(engine, recipe, manifest)
            with (
                recorded_run(engine, command="training import", config=recipe) as recorded,
                engine.begin() as connection,
            ):
                about = registry.About(recipe, manifest, run.description.n_parameters, accepted)
                model_id = registry.insert_model(connection, recorded, about)
                bring_in(connection, store, run, model_id, recorded.run_id)
                n_scores = _add_scores(connection, run, model_id, recorded.run_id)
        mark_imported(folder)
    return ImportResult(model_id, recipe.name, len(run.epochs), run.checkpoint.epoch, n_scores, was_there)


def bring_in(connection: Connection, store: Store, run: FinishedRun, model_id: int, run_id: int) -> None:
    """Give a model's row its epochs, its checkpoint and the description of its run, and mark it as succeeded.

    Raises
    ------
    TrainingError
        When the row is gone: another process took the model's name.
    """
    if connection.scalar(select(Model.status).where(Model.model_id == model_id).with_for_update()) is None:
        raise TrainingError(
            f"another process took the name {run.checkpoint.name!r} meanwhile; this training is whole in {run.folder}"
        )
    registry.add_epochs(connection, model_id, run.epochs)
    sha256 = {}
    for kind, name, suffix in (("checkpoint", layout.CHECKPOINT_NAME, "pt"), ("environment", layout.RUN_NAME, "json")):
        data = run.file(name)
        sha256[kind] = hashlib.sha256(data).hexdigest()
        uri = store.put_bytes(f"checkpoints/{run.checkpoint.name}.{suffix}", data)
        connection.execute(
            insert_or(Artifact)
            .values(run_id=run_id, kind=kind, uri=uri, sha256=sha256[kind], n_bytes=len(data))
            # The same bytes as a training before: they are this one's now.
            .on_conflict_do_update(index_elements=["uri", "sha256"], set_={"run_id": run_id})
        )
    uri = store.uri(f"checkpoints/{run.checkpoint.name}.pt")
    done = {"status": "succeeded", "error": None, "best_epoch": run.checkpoint.epoch}
    where = {"checkpoint_uri": uri, "checkpoint_sha256": sha256["checkpoint"]}
    connection.execute(update(Model).where(Model.model_id == model_id).values(done | where))


def without_gate(recipe: TrainConfig) -> TrainConfig:
    """Return a recipe as it is compared: why a verdict was accepted makes no other model of it."""
    return recipe.model_copy(update={"accept_gate": None})


def _require_same_manifest(run: FinishedRun, manifest: Manifest) -> None:
    about, recipe = run.description, run.description.recipe
    here = manifest.digest()
    if here != about.manifest.sha256:
        raise RunError(
            f"{run.folder}: was trained on another manifest of draw {recipe.draw!r}, scheme {recipe.scheme!r}, version "
            f"{recipe.cutout_version} ({about.manifest.n_cutouts} cutouts, SHA-256 {about.manifest.sha256[:12]}) than "
            f"this database has ({len(manifest)} cutouts, {here[:12]}): import it where its snapshot was exported"
        )
    found = ManifestIdentity.of(manifest, recipe, taught(manifest, recipe))
    if found.taught_sha256 != about.manifest.taught_sha256:
        raise RunError(
            f"{run.folder}: was taught other labels or weights than draw {recipe.draw!r} has now: export the manifest "
            "again and train again"
        )


def _require_same_model(engine: Engine, run: FinishedRun, there: Model) -> None:
    name, seal = there.name, run.description.files[layout.CHECKPOINT_NAME]
    if there.kind != "network" or without_gate(registry.recipe_of(engine, there)) != without_gate(
        run.description.recipe
    ):
        raise TrainingError(f"model {name!r} is there and has another recipe: train under another `name`")
    if there.checkpoint_sha256 != seal.sha256:
        raise TrainingError(
            f"model {name!r} is there and was trained from the same recipe elsewhere (checkpoint "
            f"{str(there.checkpoint_sha256)[:12]}, the run's is {seal.sha256[:12]}): train under another `name`"
        )


def _mend(engine: Engine, store: Store, run: FinishedRun, there: Model) -> int:
    """Put back a checkpoint that the store lost, and add the scores that the database lacks."""
    try:
        registry.load_checkpoint(there, store)
    except CheckpointError:
        store.put_bytes(str(there.checkpoint_uri), run.file(layout.CHECKPOINT_NAME))
    with engine.begin() as connection:
        return _add_scores(connection, run, there.model_id, there.run_id)


def _add_scores(connection: Connection, run: FinishedRun, model_id: int, run_id: int) -> int:
    """Copy the scores that the database does not have; return how many."""
    if run.scores is None:
        return 0
    cutout_id, score = (run.scores[name].to_numpy() for name in ("cutout_id", "score"))
    have = connection.scalars(select(Score.cutout_id).where(Score.model_id == model_id)).all()
    new = ~np.isin(cutout_id, np.array(have, dtype=np.int64))
    if not new.any():
        return 0
    n = int(new.sum())
    rows = {
        "model_id": pa.array(np.full(n, model_id), pa.int32()),
        "cutout_id": pa.array(cutout_id[new], pa.int64()),
        "score": pa.array(score[new], pa.float64()),
        "run_id": pa.array(np.full(n, run_id), pa.int64()),
    }
    return copy_arrow(psycopg_connection(connection), "training.score", pa.table(rows))
