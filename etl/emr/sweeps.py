"""The job `sweeps`: what `stronglens sweeps load` runs, with the cluster's session."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from db.engine import open_engine
from db.settings import settings
from etl.emr.progress import LoggedProgress
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, SessionFactory, load_sweeps
from etl.sweeps.source import find_sources

_log = logging.getLogger(__name__)


def run(config: SweepLoadConfig, places: Sequence[str], session: SessionFactory) -> int:
    """Load the files that the places name; return 1 when one was refused or has failed, else 0."""
    sources = find_sources(places, settings().s3_endpoint_url)
    engine = open_engine()
    options = LoadOptions(session=session, on_progress=LoggedProgress("files").tell)
    result = load_sweeps(engine, sources, config, options)
    engine.dispose()
    counts = {status: len(result.with_status(status)) for status in ("loaded", "skipped", "refused", "failed")}
    shown = {status: n for status, n in counts.items() if n or status != "failed"}
    print(", ".join(f"{n} {status}" for status, n in shown.items()) + f" of {len(sources)} sweep files")
    print(f"{result.n_read} rows read, {result.n_kept} kept, {result.n_quarantined} quarantined")
    not_in = result.with_status("refused", "failed")
    for outcome in not_in:
        _log.error("%s: %s: %s", outcome.status, outcome.name, outcome.reason)
    return 1 if not_in else 0
