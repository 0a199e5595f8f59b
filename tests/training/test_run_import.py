"""A run that was trained without the database comes into it: once, whole, and only where it belongs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from sqlalchemy import Engine, delete, func, select, text, update

from db.errors import BusyError, MissingInputError
from db.lock import only_one
from db.models.imaging import Cutout, Validation
from db.models.provenance import Artifact, Config, Run
from db.models.training import Epoch, Model, Score
from db.settings import settings
from etl.storage import open_store
from etl.storage.listing import Selection, load_listing
from training.config import TrainConfig
from training.errors import GateError, RunError, TrainingError
from training.manifest import named_manifest
from training.packs.write import PackConfig, write_pack
from training.preprocess import Preprocessing
from training.run.bring import import_run
from training.run.work import Job, train_in
from training.score import score_model
from training.snapshot.export import ExportConfig, export_snapshot
from training.snapshot.train import train_on_snapshot
from training.source import NpzSource
from training.train import train_model

Recipe = Callable[..., TrainConfig]
OF_RINGS = {"draw": "rings", "scheme": "cells"}


@pytest.fixture
def of(recipe: Recipe, small: Preprocessing) -> TrainConfig:
    """A recipe of two small epochs on float16 pixels."""
    rules = small.model_copy(update={"pixel_dtype": "float16"})
    return recipe(epochs=2, epoch_images=32, preprocessing=rules, shuffle_labels=True)


@pytest.fixture
def run(engine: Engine, world: Any, of: TrainConfig, tmp_path: Path) -> Path:
    """The folder of a run on a snapshot of the world of rings."""
    write_pack(engine, PackConfig.model_validate(OF_RINGS | {"crop_px": 32}))
    export_snapshot(engine, ExportConfig.model_validate(OF_RINGS), tmp_path / "snapshot")
    train_on_snapshot(tmp_path / "snapshot", of, tmp_path / "run")
    return tmp_path / "run"


def counts(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        tables = (Run, Config, Artifact, Model, Epoch, Score)
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def test_a_run_is_imported_once_with_all_that_it_holds(
    engine: Engine, run: Path, of: TrainConfig, run_cli: Any
) -> None:
    said = run_cli("training", "import", str(run))
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("model tiny (number 1): 2 epochs, best epoch ")
    assert said.stdout.rstrip().endswith(", 210 scores")
    with engine.connect() as connection:
        model = connection.execute(select(Model.__table__)).one()
        epochs = connection.execute(select(Epoch.__table__).order_by(Epoch.epoch)).mappings().all()
        scores = connection.execute(select(Score.cutout_id, Score.score).order_by(Score.cutout_id)).all()
        body = connection.scalar(select(Config.body).where(Config.config_sha256 == model.config_sha256))
        made_by = connection.execute(select(Run.__table__).where(Run.run_id == model.run_id)).one()
        artifacts = connection.execute(select(Artifact.kind, Artifact.sha256).where(Artifact.run_id == model.run_id))
        kinds = dict(artifacts.all())
        listing = load_listing(connection, open_store(settings().store), Selection(prefix="checkpoints/"))
    assert (model.status, model.n_train, model.n_val, model.is_label_shuffled) == ("succeeded", 120, 45, True)
    assert (made_by.command, made_by.status) == ("training import", "succeeded")
    assert body == of.model_dump(mode="json")
    table = parquet.read_table(run / "scores.parquet")
    assert [tuple(row) for row in scores] == list(
        zip(table["cutout_id"].to_pylist(), table["score"].to_pylist(), strict=True)
    )
    assert [row["epoch"] for row in epochs] == [1, 2]
    stored = Path(settings().store) / model.checkpoint_uri.removeprefix("store:")
    assert stored.read_bytes() == (run / "checkpoint.pt").read_bytes()
    assert kinds == {
        "checkpoint": hashlib.sha256((run / "checkpoint.pt").read_bytes()).hexdigest(),
        "environment": hashlib.sha256((run / "run.json").read_bytes()).hexdigest(),
    }
    assert set(listing) == {"checkpoints/tiny.pt", "checkpoints/tiny.json"}

    before = counts(engine)
    again = run_cli("training", "import", str(run))
    assert again.stdout.strip() == "model tiny (number 1): was there, 0 scores added"
    assert train_model(engine, of).was_there
    assert score_model(engine, "tiny").n_scored == 0
    assert counts(engine) == before

    # What got lost afterwards comes back.
    stored.unlink()
    with engine.begin() as connection:
        connection.execute(delete(Score).where(Score.score >= np.median([row.score for row in scores])))
    mended = import_run(engine, run)
    assert mended.was_there
    assert mended.n_scores >= 105
    assert stored.read_bytes() == (run / "checkpoint.pt").read_bytes()
    assert counts(engine) == before


def test_a_run_on_another_manifest_is_refused_with_both_named(engine: Engine, run: Path, world: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.cutout_id == world.cutout_ids[0]).values(sha256="0" * 64))
    with pytest.raises(RunError, match=r"another manifest of draw 'rings', scheme 'cells', version v1 \(210 cutouts"):
        import_run(engine, run)
    with engine.begin() as connection:
        connection.execute(text("UPDATE sampling.draw SET name = 'renamed'"))
    with pytest.raises(MissingInputError, match="draw 'rings' is not there"):
        import_run(engine, run)
    assert counts(engine)[3:] == [0, 0, 0]


def test_a_run_that_was_taught_other_weights_is_refused(engine: Engine, run: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE sampling.draw_member SET weight = 0.25 WHERE label = 1"))
    with pytest.raises(RunError, match="was taught other labels or weights than draw 'rings' has now"):
        import_run(engine, run)


def test_an_altered_run_is_refused_and_writes_nothing(engine: Engine, run: Path) -> None:
    before = counts(engine)
    for path in sorted(run.iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        with pytest.raises(RunError, match=path.name.replace(".", r"\.")):
            import_run(engine, run)
        path.write_bytes(data)
    assert counts(engine) == before


def test_a_name_that_is_taken_or_in_training_is_refused(
    engine: Engine, run: Path, of: TrainConfig, tmp_path: Path
) -> None:
    with only_one(engine, "model 'tiny'"), pytest.raises(BusyError, match="another process is at work on model 'tiny'"):
        import_run(engine, run)
    train_model(engine, of.model_copy(update={"seed": 1}))
    before = counts(engine)
    with pytest.raises(TrainingError, match="model 'tiny' is there and has another recipe"):
        import_run(engine, run)
    assert counts(engine) == before


def test_the_same_recipe_trained_elsewhere_to_other_weights_is_refused(
    engine: Engine, run: Path, of: TrainConfig
) -> None:
    train_model(engine, of)
    with engine.begin() as connection:
        connection.execute(update(Model).values(checkpoint_sha256="0" * 64))
    with pytest.raises(TrainingError, match="was trained from the same recipe elsewhere"):
        import_run(engine, run)


def test_the_verdict_of_this_database_binds(engine: Engine, run: Path, run_cli: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(Validation).values(is_go=False))
    with pytest.raises(GateError, match=r"NO-GO.*--accept-gate"):
        import_run(engine, run)
    assert counts(engine)[3:] == [0, 0, 0]
    done = run_cli("training", "import", str(run), "--accept-gate", "a test")
    assert done.returncode == 0, done.stderr
    with engine.connect() as connection:
        assert connection.scalar(select(Model.gate_accepted_reason)) == "a test"
    assert import_run(engine, run).was_there


def test_an_import_is_whole_or_not_there(engine: Engine, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.run import bring

    def break_down(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(bring, "_add_scores", break_down)
    with pytest.raises(KeyboardInterrupt):
        import_run(engine, run)
    assert counts(engine)[3:] == [0, 0, 0]
    monkeypatch.undo()
    monkeypatch.setenv("STRONGLENS_HOME", str(run.parent / "home"))
    assert not import_run(engine, run).was_there


def test_a_run_without_scores_says_how_to_get_them(
    engine: Engine, world: Any, recipe: Recipe, run_cli: Any, tmp_path: Path
) -> None:
    one = recipe(epochs=1, epoch_images=32, shuffle_labels=True)
    manifest = named_manifest(engine, "rings", "cells", "v1")
    store = open_store(settings().store)
    train_in(tmp_path / "run", Job(one, manifest, lambda: NpzSource(store, one.preprocessing)))
    shutil.move(tmp_path / "run", tmp_path / "moved")
    done = run_cli("training", "import", str(tmp_path / "moved"))
    assert "run `stronglens score tiny`" in done.stdout
    assert score_model(engine, "tiny").n_scored == 210
    done = run_cli("training", "import", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is no run folder" in done.stderr
