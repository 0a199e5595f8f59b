"""Stage `sweeps load`: many sweep files into the pool, by workers that take them from a queue."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, and_, func, select
from sqlalchemy.exc import DBAPIError

from db.bulk import analyze, begin_bulk, build_indexes, is_bulk
from db.engine import without_password
from db.models.catalog import SweepFile, SweepTask
from db.patience import is_passing, patiently
from db.provenance import recorded_run
from etl.errors import LoadError
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.ledger import already_loaded, refuse_other_selection
from etl.sweeps.load_file import LoadJob, work_off
from etl.sweeps.outcome import FileOutcome, LoadOutcome
from etl.sweeps.queue import MAX_ATTEMPTS, DriverSign, close_queue, count_ended, fill_queue
from etl.sweeps.source import SweepSource
from etl.sweeps.spark import local_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Progress = Callable[[int, int], None]
"""Told how many of the files that need loading are done, of how many."""

SessionFactory = Callable[[int], AbstractContextManager["SparkSession"]]

BULK_BYTES = 1 << 30
"""An empty pool that is to take more than this is loaded without its indexes, which are built afterwards."""

_POLL_S = 0.3
_CAUSE = re.compile(r"(?!org\.|py4j\.|java\.)[A-Za-z_][\w.]*: \S")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How to run a load, as opposed to what it keeps.

    Attributes
    ----------
    verify
        Hash every file that seems loaded, instead of trusting name, size and time of change or ETag.
    bulk
        Load an empty pool without its indexes; None: when there is more than `BULK_BYTES` to load.
    index
        Build the indexes that a bulk load left out, once all files are in.
    session
        Gives the Spark session for a number of workers; asked only when a file needs loading.
    """

    verify: bool = False
    bulk: bool | None = None
    index: bool = True
    session: SessionFactory = local_session
    on_progress: Progress | None = None
    on_index: Callable[[str], None] | None = None


def load_sweeps(
    engine: Engine,
    sources: Sequence[SweepSource],
    config: SweepLoadConfig,
    options: LoadOptions = LoadOptions(),
) -> LoadOutcome:
    """Load sweep files into ``catalog.galaxy``.

    A file that is loaded already is skipped and nothing is written for it; one that was refused is tried again; one
    that has changed takes the place of what it brought in before. A refused file leaves the others untouched.

    Raises
    ------
    EtlError
        When there is no Java runtime, a file cannot be listed or read to be compared, or the workers gave up.
    DuplicateKeyError
        When files that were loaded without indexes share a source.
    """
    patient = patiently(config.patience_s)
    with recorded_run(engine, command="sweeps load", config=config) as run:
        patient(refuse_other_selection, engine, config)
        done = set() if options.verify else patient(already_loaded, engine, sources)
        todo = [source for source in sources if source.name not in done]
        outcomes = [FileOutcome(name, "skipped") for name in done]
        if todo:
            patient(fill_queue, engine, run.run_id, todo)
            _begin(engine, todo, config, options)
            url = without_password(engine.url).render_as_string(hide_password=False)
            _work(engine, LoadJob(run.run_id, config, url, todo[0].endpoint_url), len(todo), options)
            outcomes += patient(_outcomes, engine, run.run_id)
        is_changed = any(outcome.status == "loaded" for outcome in outcomes)
        still_bulk = patient(_finish_pool, engine, options, is_changed=is_changed)
    result = LoadOutcome(sorted(outcomes, key=lambda outcome: outcome.name), still_bulk)
    for outcome in result.with_status("loaded"):
        for row in outcome.quarantined:
            _log.warning("%s: quarantined %s", outcome.name, row)
    _log.info("%d files, %d rows kept", len(result.files), result.n_kept)
    return result


def _begin(engine: Engine, todo: Sequence[SweepSource], config: SweepLoadConfig, options: LoadOptions) -> None:
    """Drop an empty pool's indexes if there is much to load, or if that was asked for."""
    is_large = sum(source.n_bytes for source in todo) > BULK_BYTES
    if options.bulk or (options.bulk is None and is_large):
        is_bulk_now = patiently(config.patience_s)(begin_bulk, engine)
        if options.bulk and not is_bulk_now:
            _log.warning("the pool holds rows already, so it keeps its indexes (--bulk is for an empty one)")


def _work(engine: Engine, job: LoadJob, n_files: int, options: LoadOptions) -> None:
    """Let Spark's workers empty the queue; what is left in it when they end has failed."""
    n_workers = min(job.config.n_workers, job.config.max_writers, n_files)
    try:
        with options.session(n_workers) as session:
            _run(engine, session, job, n_workers, n_files, options.on_progress)
    except BaseException:
        try:
            close_queue(engine, job.run_id, "the load was interrupted; run it again")
        except DBAPIError:
            _log.warning("the database is away: `stronglens sweeps status` will show the rest as interrupted")
        raise
    reason = f"its worker died {MAX_ATTEMPTS} times; load it alone to see why"
    patiently(job.config.patience_s)(close_queue, engine, job.run_id, reason)


def _run(
    engine: Engine,
    session: SparkSession,
    job: LoadJob,
    n_workers: int,
    n_files: int,
    on_progress: Progress | None,
) -> None:
    """Start the workers; the main thread stays free to tell the progress and be interrupted."""
    from py4j.protocol import Py4JError

    context = session.sparkContext
    with ThreadPoolExecutor(1) as thread, DriverSign(engine, job.run_id) as sign:
        workers = context.parallelize(range(n_workers), n_workers)
        work = thread.submit(workers.foreach, lambda _number: work_off(job))
        try:
            while not work.done():
                sign.keep_up()
                if on_progress:
                    _tell(engine, job.run_id, n_files, on_progress)
                wait([work], timeout=_POLL_S)
        except BaseException:
            context.cancelAllJobs()
            raise
        try:
            work.result()
        except (Py4JError, OSError) as exc:  # the latter when its JVM is gone
            raise LoadError(f"the load's workers gave up ({_last_words(exc)}); run it again to go on") from exc


def _tell(engine: Engine, run_id: int, n_files: int, on_progress: Progress) -> None:
    try:
        on_progress(count_ended(engine, run_id), n_files)
    except DBAPIError as exc:  # the workers wait for it, and so does the progress
        if not is_passing(exc):
            raise


def _last_words(exc: BaseException) -> str:
    """Return the line of a Spark error that says what happened, of its hundred: the end of a worker's traceback."""
    from py4j.protocol import Py4JNetworkError

    if isinstance(exc, OSError | Py4JNetworkError):
        return "Spark's Java process has died"
    causes = [line.strip() for line in str(exc).splitlines() if _CAUSE.match(line.strip())]
    return (causes or str(exc).splitlines() or ["no reason given"])[-1][:300]


def _outcomes(engine: Engine, run_id: int) -> list[FileOutcome]:
    """Read from queue and ledger what became of a run's files."""
    own = and_(SweepFile.name == SweepTask.name, SweepFile.run_id == SweepTask.run_id, SweepTask.status == "loaded")
    statement = (
        select(
            SweepTask.name,
            SweepTask.status,
            func.coalesce(SweepFile.n_read, 0).label("n_read"),
            func.coalesce(SweepFile.n_kept, 0).label("n_kept"),
            func.coalesce(SweepFile.n_not_selected, 0).label("n_not_selected"),
            SweepTask.quarantined,
            SweepTask.reason,
        )
        .outerjoin(SweepFile, own)
        .where(SweepTask.run_id == run_id)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).mappings().all()
    return [FileOutcome(**{**row, "quarantined": tuple(row["quarantined"])}) for row in rows]


def _finish_pool(engine: Engine, options: LoadOptions, *, is_changed: bool) -> bool:
    """Build what indexes are wanting, or let the planner know new rows; return whether indexes are wanting still."""
    with engine.connect() as connection:
        still_bulk = is_bulk(connection)
    if still_bulk and options.index:
        build_indexes(engine, on_built=options.on_index)
        return False
    if is_changed and not still_bulk:
        analyze(engine)
    return still_bulk
