"""What `stronglens sweeps status` says: the ledger, and how far the last load has come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, case, func, select
from sqlalchemy.orm import Session

from db.bulk import is_bulk
from db.models.catalog import SweepFile, SweepTask
from db.models.provenance import Run
from etl.sweeps.queue import has_driver


@dataclass(frozen=True)
class LoadStatus:
    """The last load that had anything to do.

    Attributes
    ----------
    n_files, n_bytes
        By status of its tasks; `interrupted` are those that ran when their worker died, and whom nobody has taken up.
    running
        Files under way now, and the worker that has each.
    problems
        Files that were refused or failed: name, which of the two, and why.
    elapsed_s
        From its start to its end, or to now.
    n_rows
        Rows read so far.
    """

    run_id: int
    is_running: bool
    n_files: dict[str, int]
    n_bytes: dict[str, int]
    running: list[tuple[str, str]]
    problems: list[tuple[str, str, str]]
    elapsed_s: float
    n_rows: int

    @property
    def n_bytes_left(self) -> int:
        """Bytes of the files that have not ended."""
        return sum(self.n_bytes.get(status, 0) for status in ("waiting", "running", "interrupted"))

    @property
    def bytes_per_s(self) -> float:
        """Bytes of the files that have ended, by the time it took; 0 when none has."""
        done = sum(self.n_bytes.values()) - self.n_bytes_left
        return done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to go at this rate; None while there is no rate to judge by."""
        return self.n_bytes_left / self.bytes_per_s if self.bytes_per_s else None


def ledger_rows(engine: Engine) -> list[SweepFile]:
    """Return the ledger, by survey and name."""
    statement = select(SweepFile).order_by(SweepFile.survey, SweepFile.data_release, SweepFile.name)
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(statement))


def last_load(engine: Engine) -> LoadStatus | None:
    """Return how far the last load has come; None when none has been."""
    with engine.begin() as connection:
        run_id = connection.scalar(select(func.max(SweepTask.run_id)))
        return None if run_id is None else _load_status(connection, run_id)


def awaits_indexes(engine: Engine) -> bool:
    """Tell whether the pool was loaded without its indexes, and they are not built yet."""
    with engine.connect() as connection:
        return is_bulk(connection)


def _load_status(connection: Connection, run_id: int) -> LoadStatus:
    # Nobody holds the row of a task whose worker died, so we get its lock; we let go of it at once.
    orphans = (
        select(SweepTask.task_id)
        .where(SweepTask.run_id == run_id, SweepTask.status == "running")
        .with_for_update(skip_locked=True)
    )
    dead = set(connection.scalars(orphans))
    shown = case((SweepTask.task_id.in_(dead), "interrupted"), else_=SweepTask.status)
    counts = connection.execute(
        select(shown, func.count(), func.sum(SweepTask.n_bytes)).where(SweepTask.run_id == run_id).group_by(shown)
    ).all()
    running = connection.execute(
        select(SweepTask.name, SweepTask.worker)
        .where(SweepTask.run_id == run_id, SweepTask.status == "running", SweepTask.task_id.not_in(dead))
        .order_by(SweepTask.name)
    ).all()
    problems = connection.execute(
        select(SweepTask.name, SweepTask.status, SweepTask.reason)
        .where(SweepTask.run_id == run_id, SweepTask.reason.is_not(None))
        .order_by(SweepTask.name)
    ).all()
    started_at, finished_at, now = connection.execute(
        select(Run.started_at, Run.finished_at, func.clock_timestamp()).where(Run.run_id == run_id)
    ).one()
    n_rows = connection.scalar(select(func.sum(SweepFile.n_read)).where(SweepFile.run_id == run_id))
    last_end = connection.scalar(select(func.max(SweepTask.finished_at)).where(SweepTask.run_id == run_id))
    is_running = finished_at is None and (bool(running) or has_driver(connection, run_id))
    end: dt.datetime = now if is_running else (last_end or finished_at or now)
    return LoadStatus(
        run_id=run_id,
        is_running=is_running,
        n_files={status: n for status, n, _ in counts},
        n_bytes={status: int(n_bytes) for status, _, n_bytes in counts},
        running=[(name, worker or "?") for name, worker in running],
        problems=[(name, status, reason or "") for name, status, reason in problems],
        elapsed_s=(end - started_at).total_seconds(),
        n_rows=int(n_rows or 0),
    )
