"""``catalog.sweep_task``: the queue that the workers of a load take files from, wherever they run.

A worker holds the lock of its task's row while it loads the file. Whatever kills it lets go of the row, and the next
worker that finds nothing waiting takes the file up again. So nobody has to notice a death, and the number of workers
alone bounds the connections to the database.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from sqlalchemy import Connection, Engine, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from db.models.catalog import SweepTask
from etl.sweeps.source import SweepSource

MAX_ATTEMPTS = 8
"""A file whose workers died this often is left alone: it may be what kills them."""

GRACE_S = 2.0
"""A file that was taken this long ago, and that nobody holds, is one whose worker died."""

_CLOSE_LOCK_TIMEOUT = "5s"
_DRIVER = 0x5354_5244  # "STRD": the first half of a driver's lock, the other is its run

End = Literal["loaded", "skipped", "refused", "failed"]


@dataclass(frozen=True)
class Task:
    """A file that this worker has taken."""

    task_id: int
    source: SweepSource


def fill_queue(engine: Engine, run_id: int, sources: Sequence[SweepSource]) -> None:
    """Put the files of a run into the queue; those that are in it stay as they are."""
    rows = [
        {
            "run_id": run_id,
            "name": source.name,
            "uri": source.uri,
            "n_bytes": source.n_bytes,
            "etag": source.etag,
            "modified_at": source.modified_at,
            "status": "waiting",
        }
        for source in sources
    ]
    with engine.begin() as connection:
        connection.execute(insert(SweepTask).on_conflict_do_nothing(), rows)


def take_task(engine: Engine, run_id: int, endpoint_url: str | None) -> Task | None:
    """Take the largest file that waits, else one whose worker died; None when nothing is left to take.

    The task is not safe yet: it is to be held in the transaction that loads it. For the moment between the two nobody
    else takes it: a running file is free only after `GRACE_S`.
    """
    is_free = or_(
        SweepTask.status == "waiting",
        and_(
            SweepTask.status == "running",
            SweepTask.started_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, GRACE_S),
        ),
    )
    free = (
        select(SweepTask.task_id)
        .where(
            SweepTask.run_id == run_id,
            is_free,
            SweepTask.n_attempts < MAX_ATTEMPTS,
        )
        .order_by(SweepTask.status.desc(), SweepTask.n_bytes.desc(), SweepTask.task_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    take = (
        update(SweepTask)
        .where(SweepTask.task_id == free.scalar_subquery())
        .values(
            status="running",
            n_attempts=SweepTask.n_attempts + 1,
            worker=f"{platform.node()}:{os.getpid()}",
            started_at=func.clock_timestamp(),
        )
        .returning(SweepTask.task_id, SweepTask.uri, SweepTask.n_bytes, SweepTask.modified_at, SweepTask.etag)
    )
    with engine.begin() as connection:
        row = connection.execute(take).one_or_none()
    if row is None:
        return None
    return Task(row.task_id, SweepSource(row.uri, row.n_bytes, row.modified_at, endpoint_url, row.etag))


def hold_task(connection: Connection, task_id: int) -> bool:
    """Lock a task until the transaction ends; False when another worker holds or has finished it."""
    held = (
        select(SweepTask.task_id)
        .where(SweepTask.task_id == task_id, SweepTask.status == "running")
        .with_for_update(skip_locked=True)
    )
    return connection.scalar(held) is not None


def end_task(
    connection: Connection, task_id: int, end: End, *, reason: str | None = None, quarantined: Sequence[str] = ()
) -> None:
    """Write how a task ended, in the transaction that holds it."""
    connection.execute(
        update(SweepTask)
        .where(SweepTask.task_id == task_id)
        .values(status=end, reason=reason, quarantined=list(quarantined), finished_at=func.clock_timestamp())
    )


def is_any_left(engine: Engine, run_id: int) -> bool:
    """Tell whether a file of a run waits, or is with a worker that may yet die and leave it to another."""
    left = exists().where(
        SweepTask.run_id == run_id, SweepTask.finished_at.is_(None), SweepTask.n_attempts < MAX_ATTEMPTS
    )
    with engine.connect() as connection:
        return bool(connection.scalar(select(left)))


def count_ended(engine: Engine, run_id: int) -> int:
    """Return how many files of a run have ended, one way or another."""
    ended = (
        select(func.count())
        .select_from(SweepTask)
        .where(SweepTask.run_id == run_id, SweepTask.finished_at.is_not(None))
    )
    with engine.connect() as connection:
        return connection.scalar(ended) or 0


def close_queue(engine: Engine, run_id: int, reason: str) -> None:
    """Mark what is left of a run's queue as failed; a worker that still holds a file is not waited for."""
    with engine.begin() as connection:
        connection.execute(select(func.set_config("lock_timeout", _CLOSE_LOCK_TIMEOUT, True)))
        connection.execute(
            update(SweepTask)
            .where(SweepTask.run_id == run_id, SweepTask.finished_at.is_(None))
            .values(status="failed", reason=reason, finished_at=func.clock_timestamp())
        )


class DriverSign:
    """The sign that the driver of a load lives: a lock that the server drops when the driver's connection is gone."""

    def __init__(self, engine: Engine, run_id: int) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._run_id = run_id
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        self.keep_up()
        return self

    def keep_up(self) -> None:
        """Put the sign up again if the database has been away; while it is away there is none."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
                self._connection.execute(select(func.pg_try_advisory_lock(_DRIVER, self._run_id)))
            else:
                self._connection.execute(select(1))
        except DBAPIError:
            self._drop()

    def __exit__(self, *_: object) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            # Its lock goes with it, and nobody else is to get a connection that holds one.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def has_driver(connection: Connection, run_id: int) -> bool:
    """Tell whether the driver of a load is alive."""
    is_free = connection.scalar(select(func.pg_try_advisory_lock(_DRIVER, run_id)))
    if is_free:
        connection.execute(select(func.pg_advisory_unlock(_DRIVER, run_id)))
    return not is_free
