"""One sweep file into the pool: galaxies, bricks, ledger row and the end of its task commit together or not at all.

This runs wherever Spark puts it. What it needs travels in a `LoadJob`, except the database's password, which each
worker finds out for itself.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import psycopg
import pyarrow as pa
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from db.bulk import is_bulk
from db.copy import copy_arrow, psycopg_connection
from db.engine import connectable, with_password
from db.patience import patiently
from etl.errors import EtlError, StorageError, SweepFileError
from etl.survey import survey_of_release
from etl.sweeps.box import box_of_name
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.ledger import (
    close_entry,
    loaded_before,
    lock_file,
    name_bricks,
    note_seen,
    open_entry,
    owner_of,
    record_refusal,
    renew_entry,
)
from etl.sweeps.queue import End, Task, end_task, hold_task, is_any_left, take_task
from etl.sweeps.reader import read_sweep
from etl.sweeps.replace import replace_rows
from etl.sweeps.rows import SweepRows
from etl.sweeps.select import PoolSelection, RowCounts
from etl.sweeps.source import HashedReader, opened, sha256_of

_LOOK_AGAIN_S = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadJob:
    """What every worker of a load needs to know; the URL holds no password."""

    run_id: int
    config: SweepLoadConfig
    database_url: str
    endpoint_url: str | None = None


def work_off(job: LoadJob) -> None:
    """Take files from the queue of a load until all have ended, over one connection.

    A worker that finds nothing to take stays while others have files: they may die, and Spark kills the slower of two
    attempts at one of its tasks, whatever file it works on.

    Raises
    ------
    DBAPIError
        When the database stayed away for longer than `patience_s`; the queue waits for the next worker.
    """
    engine = _engine(job.database_url)
    patient = patiently(job.config.patience_s)
    while True:
        task = patient(take_task, engine, job.run_id, job.endpoint_url)
        if task is not None:
            _FileLoad(job, task, engine).run()
        elif patient(is_any_left, engine, job.run_id):
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


@cache
def _engine(database_url: str) -> Engine:
    """One engine for all files of a worker: connecting and compiling statements anew would outweigh a small file."""
    return connectable(with_password(make_url(database_url)), is_load_worker=True)


@dataclass
class _FileLoad:
    """The load of one file; `survey` is None until its first rows tell."""

    job: LoadJob
    task: Task
    engine: Engine
    survey: str | None = None

    def run(self) -> None:
        """See the task to its end: loaded, refused because the file is at fault, or failed because its place is.

        What is wrong with the database, such as a full disk, is no end of a task: it is raised, and ends the load.
        """
        try:
            for attempt in patiently(self.job.config.patience_s):
                with attempt:
                    self._load()
        except (StorageError, OSError) as exc:
            self._give_up("failed", _one_line(exc))
        except EtlError as exc:
            self._give_up("refused", _one_line(exc))
        except (DBAPIError, psycopg.Error) as exc:
            cause = exc.orig if isinstance(exc, DBAPIError) else exc
            if not isinstance(cause, psycopg.IntegrityError | psycopg.DataError):
                raise
            self._give_up("refused", _database_reason(self.engine, cause))

    def _load(self) -> None:
        source = self.task.source
        with self.engine.begin() as connection:
            if not hold_task(connection, self.task.task_id):
                return
            lock_file(connection, source.name)
            with opened(source) as stream:
                hashed = HashedReader(stream)
                batches = read_sweep(io.BufferedReader(hashed, 1 << 20))
                first = next(batches, None)
                self.survey = _survey_of(first)
                end, quarantined = self._write(connection, self.survey, _chain(first, batches), hashed)
            end_task(connection, self.task.task_id, end, quarantined=quarantined)

    def _write(
        self, connection: Connection, survey: str, batches: Iterator[SweepRows], hashed: HashedReader
    ) -> tuple[End, list[str]]:
        source = self.task.source
        before = loaded_before(connection, survey, source.name)
        if before is not None and before.n_bytes == source.n_bytes and before.sha256 == sha256_of(source):
            note_seen(connection, before.sweep_file_id, source)
            return "skipped", []
        if before is None:
            sweep_file_id = open_entry(connection, source, survey, self.job.run_id)
        else:
            sweep_file_id = before.sweep_file_id
            renew_entry(connection, sweep_file_id, source, survey, self.job.run_id)
        box = box_of_name(source.name)
        if box is None and is_bulk(connection):
            raise SweepFileError(
                "its name declares no patch of sky, without which a first load cannot rule out duplicates; "
                "load it after `stronglens sweeps index`"
            )
        selection = PoolSelection(self.job.config, survey, sweep_file_id, box)
        galaxies = _selected(batches, selection)
        if before is None:
            copy_arrow(psycopg_connection(connection), "catalog.galaxy", galaxies)
        else:
            replace_rows(connection, sweep_file_id, galaxies)
        _check_bad_rows(selection.counts, self.job.config)
        name_bricks(connection, survey, selection.bricks)
        close_entry(connection, sweep_file_id, selection.counts, hashed.hexdigest())
        return "loaded", selection.counts.bad

    def _give_up(self, end: Literal["refused", "failed"], reason: str) -> None:
        source = self.task.source
        for attempt in patiently(self.job.config.patience_s):
            with attempt, self.engine.begin() as connection:
                if hold_task(connection, self.task.task_id):
                    if end == "refused":
                        record_refusal(connection, source, self.survey, reason, self.job.run_id)
                    end_task(connection, self.task.task_id, end, reason=reason)


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def _survey_of(first: SweepRows | None) -> str:
    """Return the survey of the first row; a file without rows counts as the survey's own."""
    releases = first.values("RELEASE")[:1] if first is not None else [10_000]
    return str(survey_of_release(releases)[0])


def _chain(first: SweepRows | None, rest: Iterator[SweepRows]) -> Iterator[SweepRows]:
    if first is not None:
        yield first
        yield from rest


def _selected(batches: Iterator[SweepRows], selection: PoolSelection) -> Iterator[pa.RecordBatch]:
    """Yield the galaxies; once there are too many bad rows only count on, so that the refusal can name them all."""
    for batch in batches:
        galaxies = selection.select(batch)
        if selection.counts.n_bad <= selection.config.max_quarantine_rows:
            yield galaxies


def _check_bad_rows(counts: RowCounts, config: SweepLoadConfig) -> None:
    if counts.n_bad > config.max_quarantine_rows:
        noun = "row" if counts.n_bad == 1 else "rows"
        raise SweepFileError(
            f"has {counts.n_bad} bad {noun} of {counts.n_read}, first {counts.bad[0]}; "
            f"--quarantine-rows {counts.n_bad} would drop them"
        )


def _database_reason(engine: Engine, exc: BaseException | None) -> str:
    """Say what a database error means for the file, without SQL or values of other rows."""
    if isinstance(exc, psycopg.errors.UniqueViolation):
        if exc.diag.constraint_name == "uq_sweep_file_box":
            return "declares the same sky as another file that was loaded at this moment"
        if exc.diag.constraint_name == "pk_galaxy":
            match = re.search(r"=\((\d+)\)", exc.diag.message_detail or "")
            key = int(match[1]) if match else 0
            owner = owner_of(engine, key)
            place = f", from {owner}" if owner else ""
            return f"source ls_id {key} is already in the catalog{place}; two files cannot hold one source"
    if isinstance(exc, psycopg.errors.CheckViolation):
        return f"a row breaks the rule {exc.diag.constraint_name} of the catalog"
    # Its first line alone: what follows quotes the row.
    words = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    return f"the database refuses a row: {' '.join((words or str(exc)).split())}"
