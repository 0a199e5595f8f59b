"""Stage `sweeps load`: many sweep files into the pool, one Spark task each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from db.provenance import recorded_run
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.ledger import already_loaded
from etl.sweeps.load_file import LoadTask, load_file
from etl.sweeps.outcome import FileOutcome, LoadOutcome
from etl.sweeps.source import SweepSource
from etl.sweeps.spark import local_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Progress = Callable[[int, int], None]
"""Told how many of the files that need loading are done, of how many."""

SessionFactory = Callable[[int], AbstractContextManager["SparkSession"]]

_POLL_S = 0.2
_BUNDLE_BYTES = 8 << 20
_BUNDLE_FILES = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How to run a load, as opposed to what it keeps.

    Attributes
    ----------
    verify
        Hash every file that seems loaded, instead of trusting name, size and time of change.
    session
        Gives the Spark session for a number of workers; asked only when a file needs loading.
    """

    verify: bool = False
    session: SessionFactory = local_session
    on_progress: Progress | None = None


def load_sweeps(
    engine: Engine,
    sources: Sequence[SweepSource],
    config: SweepLoadConfig,
    options: LoadOptions = LoadOptions(),
) -> LoadOutcome:
    """Load sweep files into ``catalog.galaxy``.

    A file that is loaded already is skipped and nothing is written for it; one that was refused is tried again. A
    refused file leaves the others untouched.

    Raises
    ------
    EtlError
        When there is no Java runtime, or a file cannot be listed or read to be compared.
    """
    with recorded_run(engine, command="sweeps load", config=config) as run:
        done = already_loaded(engine, sources, verify=options.verify)
        todo = [source for source in sources if source.name not in done]
        url = engine.url.render_as_string(hide_password=False)
        tasks = [LoadTask(source, config, run.run_id, url) for source in todo]
        outcomes = [FileOutcome(name, "skipped") for name in done]
        if tasks:
            with options.session(min(config.n_workers, len(tasks))) as session:
                outcomes += _run(session, tasks, options.on_progress)
            if any(outcome.status == "loaded" for outcome in outcomes):
                _analyze(engine)
    result = LoadOutcome(sorted(outcomes, key=lambda outcome: outcome.name))
    for outcome in result.with_status("loaded"):
        for row in outcome.quarantined:
            _log.warning("%s: quarantined %s", outcome.name, row)
    _log.info("%d files, %d rows kept", len(result.files), result.n_kept)
    return result


def bundled(tasks: Sequence[LoadTask]) -> list[list[LoadTask]]:
    """Group files into Spark tasks: one file each, but several small ones together.

    A Spark task costs a fifth of a second before it does anything, more than a file of a few rows. Every file is loaded
    in a transaction of its own all the same.
    """
    bundles: list[list[LoadTask]] = []
    room = 0
    for task in tasks:
        if not bundles or task.source.n_bytes > room or len(bundles[-1]) == _BUNDLE_FILES:
            bundles.append([])
            room = _BUNDLE_BYTES
        bundles[-1].append(task)
        room -= task.source.n_bytes
    return bundles


def _run(session: SparkSession, tasks: list[LoadTask], on_progress: Progress | None) -> list[FileOutcome]:
    """Load the files in Spark's workers; the main thread stays free to tell the progress and be interrupted."""
    context = session.sparkContext
    n_done = context.accumulator(0)

    def load_bundle(bundle: list[LoadTask]) -> list[FileOutcome]:
        outcomes = [load_file(task) for task in bundle]
        n_done.add(len(outcomes))
        return outcomes

    bundles = bundled(tasks)
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(context.parallelize(bundles, len(bundles)).flatMap(load_bundle).collect)
        try:
            while not job.done():
                if on_progress:
                    on_progress(n_done.value, len(tasks))
                wait([job], timeout=_POLL_S)
        except BaseException:
            context.cancelAllJobs()
            raise
        outcomes: list[FileOutcome] = job.result()
    return outcomes


def _analyze(engine: Engine) -> None:
    """Let the planner know the new rows, so that spatial queries use their index at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE catalog.galaxy"))
