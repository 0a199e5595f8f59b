"""Losing the database in mid-training costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from db.embedded import EmbeddedServer
from db.engine import connectable
from db.models.provenance import Run
from db.models.training import Epoch, Model
from db.settings import settings
from training import train
from training.config import TrainConfig
from training.errors import TrainingError
from training.run.bring import import_run
from training.run.read import open_run
from training.train import train_model

Recipe = Callable[..., TrainConfig]


@pytest.fixture
def quick(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Three small epochs; a training that is done waits half a second for its database."""
    monkeypatch.setattr(train, "PATIENCE_S", 0.5)
    return recipe(epochs=3, epoch_images=32, shuffle_labels=True)


@pytest.fixture
def shut(engine: Engine, server: EmbeddedServer) -> Iterator[Callable[[bool], None]]:
    """Shut this test's database, and everybody in it out, or open it again."""
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    name = engine.url.database

    def shut(is_shut: bool) -> None:
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {'false' if is_shut else 'true'}"))
            if is_shut:
                connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
                )

    yield shut
    shut(False)
    admin.dispose()


def at(moments: dict[str, Callable[[], None]]) -> Callable[[str, int, int], None]:
    """Progress that does something the first time that a task is heard of."""

    def progress(task: str, _done: int, _total: int) -> None:
        moments.pop(task, lambda: None)()

    return progress


def epochs_in(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Epoch.epoch).order_by(Epoch.epoch)))


def test_epochs_that_the_database_missed_are_written_when_it_is_back(
    engine: Engine, world: Any, quick: TrainConfig, shut: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[int]] = []

    def back() -> None:
        shut(False)
        seen.append(epochs_in(engine))

    with caplog.at_level(logging.WARNING):
        done = train_model(engine, quick, at({"epoch 2 of 3": lambda: shut(True), "epoch 3 of 3": back}))
    assert seen == [[1]]
    assert caplog.text.count("the database is away, the training goes on in") == 1
    assert epochs_in(engine) == [1, 2, 3]
    with engine.connect() as connection:
        assert connection.scalar(select(Model.status)) == "succeeded"
        assert connection.scalar(select(Run.status).where(Run.command == "train")) == "succeeded"
    assert [row.epoch for row in done.epochs] == [1, 2, 3]


@contextmanager
def lost(engine: Engine, quick: TrainConfig, lose: Callable[[], None]) -> Iterator[Path]:
    """Train while the database goes away for good."""
    with pytest.raises(TrainingError) as caught:
        train_model(engine, quick, at({"epoch 2 of 3": lose}))
    folder = settings().home / "runs" / "tiny"
    assert f"run `stronglens training import {folder}`, or the same `stronglens train` again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [row.epoch for row in open_run(folder).epochs] == [1, 2, 3]
    yield folder


def test_a_training_that_lost_its_database_is_whole_and_is_imported_later(
    engine: Engine, world: Any, quick: TrainConfig, shut: Callable[[bool], None]
) -> None:
    with lost(engine, quick, lambda: shut(True)) as folder:
        shut(False)
    with engine.connect() as connection:
        assert connection.scalar(select(Model.status)) == "training"
    done = import_run(engine, folder)
    assert (done.was_there, done.n_epochs) == (False, 3)
    assert epochs_in(engine) == [1, 2, 3]
    with engine.connect() as connection:
        runs = dict(connection.execute(select(Run.command, Run.status).where(Run.command.like("train%"))).all())
        assert connection.scalar(select(func.count()).select_from(Model)) == 1
    assert runs == {"train": "failed", "training import": "succeeded"}
    assert import_run(engine, folder).was_there
    assert train_model(engine, quick).was_there


def test_the_same_train_command_takes_in_what_was_trained_while_the_server_was_stopped(
    engine: Engine, world: Any, quick: TrainConfig, server: EmbeddedServer
) -> None:
    try:
        with lost(engine, quick, server.stop) as folder:
            checkpoint = (folder / "checkpoint.pt").read_bytes()
    finally:
        server.start()
    tasks: set[str] = set()
    done = train_model(engine, quick, lambda task, _done, _total: tasks.add(task))
    assert not done.was_there
    assert tasks == set()  # nothing was read, nothing was trained
    assert [row.epoch for row in done.epochs] == [1, 2, 3]
    assert epochs_in(engine) == [1, 2, 3]
    assert (Path(settings().store) / "checkpoints" / "tiny.pt").read_bytes() == checkpoint
    assert train_model(engine, quick).was_there


def test_an_interrupted_training_goes_on_and_its_row_is_replaced(
    engine: Engine, world: Any, quick: TrainConfig
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(engine, quick, at({"epoch 3 of 3": interrupt}))
    with engine.connect() as connection:
        assert connection.scalar(select(Model.status)) == "failed"
    tasks: set[str] = set()
    done = train_model(engine, quick, lambda task, _done, _total: tasks.add(task))
    assert done.resumed_after == 2
    assert {task for task in tasks if task.startswith("epoch")} == {"epoch 3 of 3"}
    assert epochs_in(engine) == [1, 2, 3]
    alone = train_model(engine, quick.model_copy(update={"name": "alone"}))
    assert [row.val_loss for row in alone.epochs] == [row.val_loss for row in done.epochs]
