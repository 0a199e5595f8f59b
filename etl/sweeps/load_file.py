"""One sweep file into the pool: its galaxies, bricks and ledger row commit together or not at all.

This runs in Spark's Python workers, so everything it needs travels in a `LoadTask`.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import psycopg
import pyarrow as pa
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DBAPIError

from db.copy import copy_arrow, psycopg_connection
from db.engine import connectable
from db.errors import DbError
from etl.errors import EtlError, SweepFileError
from etl.survey import survey_of_release
from etl.sweeps.box import box_of_name
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.ledger import (
    close_entry,
    loaded_before,
    lock_file,
    name_bricks,
    open_entry,
    owner_of,
    record_refusal,
)
from etl.sweeps.outcome import FileOutcome
from etl.sweeps.reader import read_sweep
from etl.sweeps.select import PoolSelection, RowCounts
from etl.sweeps.source import HashedReader, SweepSource, opened, sha256_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadTask:
    """A file to load, how, and where to; the URL may hold a password and stays out of every representation."""

    source: SweepSource
    config: SweepLoadConfig
    run_id: int
    database_url: str = field(repr=False)


def load_file(task: LoadTask) -> FileOutcome:
    """Load one file; a refusal is an outcome with a reason, recorded in the ledger, never an exception."""
    engine = _engine(task.database_url)
    load = _FileLoad(task, engine)
    try:
        return load.run()
    except (EtlError, DbError, OSError) as exc:
        reason = " ".join(str(exc).split())
    except DBAPIError as exc:
        reason = _database_reason(engine, exc.orig)
    except psycopg.Error as exc:
        reason = _database_reason(engine, exc)
    try:
        record_refusal(engine, task.source, load.survey, reason, task.run_id)
    except DBAPIError:
        _log.exception("%s: its refusal could not be recorded", task.source.name)
    return FileOutcome(task.source.name, "refused", reason=reason)


@cache
def _engine(database_url: str) -> Engine:
    """One engine for all files of a worker: connecting and compiling statements anew would outweigh a small file."""
    return connectable(make_url(database_url))


@dataclass
class _FileLoad:
    """The load of one file; `survey` is None until its first rows tell."""

    task: LoadTask
    engine: Engine
    survey: str | None = None

    def run(self) -> FileOutcome:
        source = self.task.source
        with opened(source) as stream:
            hashed = HashedReader(stream)
            batches = read_sweep(io.BufferedReader(hashed, 1 << 20))
            first = next(batches, None)
            survey = self.survey = _survey_of(first)
            with self.engine.begin() as connection:
                lock_file(connection, survey, source.name)
                before = loaded_before(connection, survey, source.name)
                if before is not None:
                    if before.n_bytes == source.n_bytes and before.sha256 == sha256_of(source):
                        return FileOutcome(source.name, "skipped")
                    raise SweepFileError(
                        f"has changed since it was loaded: it has {source.n_bytes} bytes, the loaded one "
                        f"{before.n_bytes}; nothing was touched, give the file that was loaded or another name"
                    )
                sweep_file_id = open_entry(connection, source, survey, self.task.run_id)
                selection = PoolSelection(self.task.config, survey, sweep_file_id, box_of_name(source.name))
                galaxies = _selected(first, batches, selection)
                copy_arrow(psycopg_connection(connection), "catalog.galaxy", galaxies)
                counts = selection.counts
                _check_bad_rows(counts, self.task.config)
                name_bricks(connection, survey, selection.bricks)
                close_entry(connection, sweep_file_id, counts, hashed.hexdigest())
        return FileOutcome(
            source.name, "loaded", counts.n_read, counts.n_kept, counts.n_not_selected, tuple(counts.bad)
        )


def _survey_of(first: pa.RecordBatch | None) -> str:
    """Return the survey of the first row; a file without rows counts as the survey's own."""
    releases = first.column("RELEASE").to_numpy()[:1] if first is not None else [10_000]
    return str(survey_of_release(releases)[0])


def _selected(
    first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch], selection: PoolSelection
) -> Iterator[pa.RecordBatch]:
    """Yield the galaxies; once there are too many bad rows only count on, so that the refusal can name them all."""
    if first is None:
        return
    yield selection.select(first)
    for batch in rest:
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
    if isinstance(exc, psycopg.errors.UniqueViolation) and exc.diag.constraint_name == "pk_galaxy":
        match = re.search(r"=\((\d+)\)", exc.diag.message_detail or "")
        key = int(match[1]) if match else 0
        owner = owner_of(engine, key)
        place = f", from {owner}" if owner else ""
        return f"source ls_id {key} is already in the catalog{place}; two files cannot hold one source"
    if isinstance(exc, psycopg.errors.DeadlockDetected):
        return "another load wrote the same rows at the same moment; run again"
    if isinstance(exc, psycopg.errors.CheckViolation):
        return f"a row breaks the rule {exc.diag.constraint_name} of the catalog"
    return f"the database failed: {' '.join(str(exc).split())}"
