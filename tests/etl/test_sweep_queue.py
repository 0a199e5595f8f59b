"""The queue of a load: each file is taken once, by whoever lives, and the status says how far things are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from pyspark.serializers import CloudPickleSerializer
from pyspark.sql import SparkSession
from sqlalchemy import Engine, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from db.engine import connectable
from db.models.catalog import SweepTask
from db.patience import is_passing, patiently
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.load_file import LoadJob, work_off
from etl.sweeps.queue import (
    GRACE_S,
    MAX_ATTEMPTS,
    DriverSign,
    close_queue,
    count_ended,
    end_task,
    fill_queue,
    hold_task,
    take_task,
)
from etl.sweeps.source import SweepSource, find_sources
from etl.sweeps.status import last_load
from tests.builders import insert_run

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.fixture
def run_id(engine: Engine) -> int:
    """A run with three files of 10, 30 and 20 bytes in its queue."""
    with engine.begin() as connection:
        made = insert_run(connection)
    fill_queue(engine, made, [SweepSource(f"/s/sweep-{n}.fits", n, NOW) for n in (10, 30, 20)])
    return made


def let_time_pass(engine: Engine) -> None:
    """Put what was taken, and is not held, beyond the moment in which nobody else may take it."""
    free = select(SweepTask.task_id).with_for_update(skip_locked=True)
    earlier = SweepTask.started_at - dt.timedelta(seconds=GRACE_S)
    with engine.begin() as connection:
        connection.execute(update(SweepTask).where(SweepTask.task_id.in_(free)).values(started_at=earlier))


def test_the_largest_waiting_file_is_taken_first_and_none_twice(engine: Engine, run_id: int) -> None:
    tasks = [take_task(engine, run_id, None) for _ in range(3)]
    assert [task.source.n_bytes for task in tasks if task] == [30, 20, 10]
    assert len({task.task_id for task in tasks if task}) == 3


def test_a_file_that_is_held_is_not_taken_and_one_whose_worker_died_is(engine: Engine, run_id: int) -> None:
    tasks = [take_task(engine, run_id, None) for _ in range(3)]
    held, dead, ended = [task.task_id for task in tasks if task]
    with engine.begin() as connection:
        assert hold_task(connection, ended)
        end_task(connection, ended, "loaded")
    with engine.connect() as worker:
        assert hold_task(worker, held)
        assert take_task(engine, run_id, None) is None
        let_time_pass(engine)
        again = take_task(engine, run_id, None)
        assert again is not None
        assert again.task_id == dead
        with engine.connect() as other:
            assert not hold_task(other, held)
        status = last_load(engine)
        assert status is not None
        assert status.n_files == {"running": 1, "interrupted": 1, "loaded": 1}
        assert [name for name, _ in status.running] == ["sweep-30.fits"]
        assert (status.n_bytes_left, sum(status.n_bytes.values())) == (50, 60)
    with engine.begin() as connection:
        assert not hold_task(connection, ended)
    assert count_ended(engine, run_id) == 1


def test_a_file_that_keeps_killing_its_workers_is_left_alone_and_said_to_have_failed(
    engine: Engine, run_id: int
) -> None:
    for _ in range(MAX_ATTEMPTS):
        assert all(take_task(engine, run_id, None) for _ in range(3))
        let_time_pass(engine)
    assert take_task(engine, run_id, None) is None
    close_queue(engine, run_id, "its worker died")
    with engine.connect() as connection:
        rows = connection.execute(select(SweepTask.status, SweepTask.reason, SweepTask.n_attempts)).all()
    assert rows == [("failed", "its worker died", MAX_ATTEMPTS)] * 3


def test_a_worker_empties_the_queue_over_one_connection(
    engine: Engine, sweep_files: Any, tmp_path: Path, database_url: URL
) -> None:
    for number in range(3):
        name = f"sweep-{5 * number:03d}m005-{5 * number + 5:03d}p000.fits"
        sweep_files.write(tmp_path / name, sweep_files.make(50, seed=number + 1, ra=5 * number + 2.5))
    with engine.begin() as connection:
        run_id = insert_run(connection)
    fill_queue(engine, run_id, find_sources([str(tmp_path)]))
    work_off(LoadJob(run_id, SweepLoadConfig(), database_url.render_as_string(hide_password=False)))
    with engine.connect() as connection:
        rows = connection.execute(select(SweepTask.status, SweepTask.n_attempts)).all()
        others = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND application_name = 'stronglens'"
        ).scalar()
    assert rows == [("loaded", 1)] * 3
    assert others == 1


@pytest.mark.parametrize("place", ["before the host", "as a parameter"])
def test_what_a_load_hands_to_its_workers_does_not_hold_the_password(
    engine: Engine, sweep_files: Any, tmp_path: Path, place: str
) -> None:
    sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(50))
    url = engine.url
    secret = url.set(password="s3cret") if place == "before the host" else url.update_query_dict({"password": "s3cret"})
    handed: list[bytes] = []

    def foreach(work: Callable[[int], None]) -> None:
        """Do as Spark does: pickle the work, and let whoever unpickles it do it."""
        pickler = CloudPickleSerializer()
        handed.append(pickler.dumps(work))
        pickler.loads(handed[-1])(0)

    workers = SimpleNamespace(foreach=foreach)
    spark = SimpleNamespace(sparkContext=SimpleNamespace(parallelize=lambda _numbers, _n: workers))
    knows_secret = connectable(secret)
    options = LoadOptions(session=lambda _n: nullcontext(cast("SparkSession", spark)))
    result = load_sweeps(knows_secret, find_sources([str(tmp_path)]), SweepLoadConfig(), options)
    knows_secret.dispose()
    assert [file.status for file in result.files] == ["loaded"]
    (pickled,) = handed
    assert b"s3cret" not in pickled
    assert str(url.database).encode() in pickled


def test_errors_that_waiting_may_mend_are_told_from_others(engine: Engine) -> None:
    assert is_passing(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert is_passing(psycopg.errors.AdminShutdown("terminating"))
    assert not is_passing(psycopg.errors.DiskFull("no space"))
    assert not is_passing(ValueError("x"))
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.exec_driver_sql("SELECT 1 / 0")
    assert not is_passing(caught.value)


def n_tries(errors: list[Exception], patience_s: float) -> int:
    """Attempt something that fails with each of some errors in turn; return how often it was attempted."""
    n = 0
    for attempt in patiently(patience_s):
        with attempt:
            n += 1
            if n <= len(errors):
                raise errors[n - 1]
    return n


def test_work_that_fails_for_a_passing_reason_is_tried_again_and_other_errors_are_raised_at_once() -> None:
    starting = psycopg.errors.CannotConnectNow("starting up")
    assert n_tries([starting, starting], 30) == 3
    with pytest.raises(psycopg.errors.DiskFull):
        n_tries([psycopg.errors.DiskFull("full")], 30)
    with pytest.raises(psycopg.OperationalError, match="gone"):
        n_tries([psycopg.OperationalError("gone")], 0)


def test_the_status_knows_whether_the_driver_lives(engine: Engine, run_id: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE provenance.run SET status = 'running', finished_at = NULL WHERE run_id = {run_id}"
        )

    def is_running() -> bool:
        status = last_load(engine)
        assert status is not None
        return status.is_running

    assert not is_running()
    with DriverSign(engine, run_id) as sign:
        assert is_running()
        with engine.connect() as admin:
            admin.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        for _ in range(3):
            sign.keep_up()
        assert is_running()
    assert not is_running()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('connection failed: FATAL:  database "nowhere" does not exist', False),
        ('connection failed: FATAL:  password authentication failed for user "me"', False),
        ("connection failed: SSL error: certificate verify failed", False),
        ("connection failed: FATAL:  the database system is starting up", True),
        ("connection failed: FATAL:  sorry, too many clients already", True),
        ("connection failed: Connection refused", True),
    ],
)
def test_a_connection_that_was_turned_down_for_good_is_not_tried_again(words: str, expected: bool) -> None:
    assert is_passing(psycopg.OperationalError(words)) is expected
