"""Rows of `training.model` and `training.epoch`: what was trained, and what can be used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import Session

from db.models.provenance import Config, Run
from db.models.training import Epoch, Model, Score
from db.provenance import RecordedRun
from etl.errors import EtlError
from etl.storage import Store
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, ModelNotFoundError, PreprocessingError, TrainingError
from training.fit import EpochResult
from training.labels import taught, taught_digest
from training.manifest import Manifest
from training.preprocess import Preprocessing


def find_model(engine: Engine, name_or_id: str | int) -> Model:
    """Return the succeeded model of a name or, failing that, of a number.

    Raises
    ------
    ModelNotFoundError
        When there is none, or it has not succeeded.
    """
    wanted = str(name_or_id)
    model = named_model(engine, wanted)
    with Session(engine, expire_on_commit=False) as session:
        if model is None and wanted.isdecimal() and int(wanted) < 2**31:
            model = session.get(Model, int(wanted))
        if model is None:
            there = ", ".join(session.scalars(select(Model.name).order_by(Model.model_id))) or "none"
            raise ModelNotFoundError(
                f"model {wanted!r} is not there (models: {there}): run `stronglens train CONFIG.yaml` first"
            )
    if model.status != "succeeded":
        why = f": {model.error}" if model.error else ""
        raise ModelNotFoundError(f"model {model.name!r} cannot be used, its status is {model.status}{why}")
    return model


def named_model(engine: Engine, name: str) -> Model | None:
    """Return the model of a name, whatever its status; None when there is none."""
    with Session(engine, expire_on_commit=False) as session:
        return session.scalar(select(Model).where(Model.name == name))


def recipe_of(engine: Engine, model: Model) -> TrainConfig:
    """Return the recipe of a model; keys that recipes have got since then take their defaults."""
    with engine.connect() as connection:
        body = connection.scalar(select(Config.body).where(Config.config_sha256 == model.config_sha256))
    return TrainConfig.model_validate(body)


def load_checkpoint(model: Model, store: Store) -> Checkpoint:
    """Read a model's checkpoint and hold it to the model's row.

    Raises
    ------
    CheckpointError
        When the file is missing, altered, damaged, or another model's.
    PreprocessingError
        When row and checkpoint name different preprocessings.
    """
    uri = str(model.checkpoint_uri)
    try:
        data = store.get_bytes(uri)
    except EtlError as exc:
        raise CheckpointError(f"checkpoint of model {model.name!r}: {exc}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != model.checkpoint_sha256:
        raise CheckpointError(
            f"{uri}: altered since it was written (SHA-256 {found[:12]}, recorded "
            f"{str(model.checkpoint_sha256)[:12]}): restore it or train model {model.name!r} again"
        )
    checkpoint = read_checkpoint(data, uri)
    if (checkpoint.architecture, checkpoint.manifest_sha256) != (model.architecture, model.manifest_sha256):
        raise CheckpointError(f"{uri}: is the checkpoint of another model than {model.name!r}: restore the right one")
    if checkpoint.preprocessing != Preprocessing.model_validate(model.preprocessing):
        raise PreprocessingError(f"{uri}: its preprocessing is not the one that model {model.name!r} records")
    return checkpoint


@dataclass(frozen=True)
class About:
    """What a model's row says before it is trained; `accepted` is why a verdict other than GO was accepted."""

    recipe: TrainConfig
    manifest: Manifest
    n_parameters: int
    accepted: str | None


def begin_model(engine: Engine, run: RecordedRun, about: About) -> int:
    """Insert the row of a model whose training begins, in place of an unfinished one of that name.

    Raises
    ------
    TrainingError
        When the model of that name has scores, which are not thrown away.
    """
    with engine.begin() as connection:
        return insert_model(connection, run, about)


def insert_model(connection: Connection, run: RecordedRun, about: About) -> int:
    """Do as `begin_model`, in a transaction of the caller's."""
    recipe, manifest = about.recipe, about.manifest
    parts = taught(manifest, recipe)
    n_train, n_val = (len(part.manifest) for part in parts)
    old = connection.execute(select(Model.model_id, Model.run_id).where(Model.name == recipe.name)).first()
    if old is not None:
        if connection.scalar(select(Score.model_id).where(Score.model_id == old.model_id).limit(1)) is not None:
            raise TrainingError(
                f"model {recipe.name!r} is not usable but has scores, so it stays: choose another `name`"
            )
        connection.execute(delete(Model).where(Model.model_id == old.model_id))
        # A run that lost the database could not say that it ended; another holds its model's lock now.
        lost = {"status": "failed", "error": "it lost the database", "finished_at": func.clock_timestamp()}
        connection.execute(update(Run).where(Run.run_id == old.run_id, Run.status == "running").values(lost))
    return connection.execute(
        insert(Model)
        .values(
            name=recipe.name,
            survey=manifest.survey,
            draw_id=manifest.draw_id,
            scheme_id=manifest.scheme_id,
            cutout_version=manifest.cutout_version,
            architecture=recipe.architecture,
            n_parameters=about.n_parameters,
            config_sha256=run.config_sha256,
            preprocessing=recipe.preprocessing.model_dump(mode="json"),
            manifest_sha256=manifest.digest(),
            taught_sha256=taught_digest(parts),
            n_train=n_train,
            n_val=n_val,
            is_label_shuffled=recipe.shuffle_labels,
            gate_accepted_reason=about.accepted,
            status="training",
            run_id=run.run_id,
        )
        .returning(Model.model_id)
    ).scalar_one()


def add_epochs(connection: Connection, model_id: int, results: Sequence[EpochResult]) -> None:
    """Insert the rows of epochs, over those that are there."""
    if not results:
        return
    rows = [{"model_id": model_id, **asdict(result)} for result in results]
    adding = insert_or(Epoch).values(rows)
    values = {name: adding.excluded[name] for name in asdict(results[0]) if name != "epoch"}
    connection.execute(adding.on_conflict_do_update(index_elements=["model_id", "epoch"], set_=values))


def fail(engine: Engine, model_id: int, reason: BaseException) -> None:
    """Mark a model as failed, with the reason."""
    message = " ".join(str(reason).split()) or type(reason).__name__
    with engine.begin() as connection:
        connection.execute(
            update(Model).where(Model.model_id == model_id).values(status="failed", error=message[:2000])
        )


def refuse_other_preprocessing(model: Model, wanted: Preprocessing) -> None:
    """Check that a preprocessing is the model's own.

    Raises
    ------
    PreprocessingError
        When it is not.
    """
    own = Preprocessing.model_validate(model.preprocessing)
    if wanted != own:
        ours, theirs = own.model_dump(mode="json"), wanted.model_dump(mode="json")
        differing = ", ".join(f"{key} {theirs[key]} instead of {ours[key]}" for key in ours if ours[key] != theirs[key])
        raise PreprocessingError(
            f"model {model.name!r} was trained with another preprocessing ({differing}): use the model's own"
        )
