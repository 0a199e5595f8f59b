"""A whole survey's pool: files made in batches, loaded, deleted; then indexes, ANALYZE, and the sum of all keys."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import Engine, select, text

from db.bulk import analyze, build_indexes
from db.models.catalog import Lens
from db.settings import CHECKOUT
from etl.catalogs.load import load_lenscat, load_table
from tests.bench.limits import Measure
from tests.bench.pool.bench_server import DiskWatch
from tests.bench.pool.checksum import KeySum, key_sum, key_sums_of_pool
from tests.bench.pool.machine import table_sizes
from tests.bench.pool.rates import load_with_spark
from tests.bench.pool.sky import N_SURVEY_ROWS, Box, boxes
from tests.bench.pool.sweep_file import Lenses, SweepWriter

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MARKS = (10_000_000, 30_000_000, 60_000_000, N_SURVEY_ROWS)
"""Where the rate is reported, for a whole survey; a smaller sky has them at the same fractions."""

LATER_TABLE = Path("candidates") / "inchausti2025_published_catalog.csv"
LATER_PAPER = "arXiv:2508.20087"

LARGEST_BATCH = 3_000_000
MAX_DISK_GB = 40.0


@dataclass
class Loaded:
    """What the load told: rows and seconds of each batch, and the sums of the keys that were written, by file."""

    batches: list[tuple[int, float]] = field(default_factory=list)
    keys: dict[str, KeySum] = field(default_factory=dict)

    def rate_before(self, mark: int, window: int) -> float:
        """Rows per second over the batches that ended within `window` rows before a mark."""
        ends = np.cumsum([rows for rows, _ in self.batches])
        last = int(np.argmin(np.abs(ends - mark)))
        first = int(np.searchsorted(ends, ends[last] - window * 1.01))
        first = min(first + (ends[first] <= ends[last] - window), last)
        chosen = self.batches[first : last + 1]
        return sum(rows for rows, _ in chosen) / sum(seconds for _, seconds in chosen)


def measure_scale(
    engine: Engine, session: SparkSession, n_rows: int, folder: Path, watch: DiskWatch, out: Console
) -> tuple[list[Measure], dict[str, Any]]:
    """Load `n_rows` into an empty pool and finish it; measures, and details for the JSON."""
    load_lenses(engine)
    loaded = _load(engine, session, n_rows, folder, out)
    seconds = sum(seconds for _, seconds in loaded.batches)
    measures = [
        Measure(f"{n_rows:,} rows loaded", seconds, "s"),
        Measure("rate of the load", n_rows / seconds, "rows/s"),
    ]
    measures += _rates(loaded, n_rows)
    built: list[tuple[str, float]] = []
    start = time.perf_counter()
    with out.status("building indexes"):
        build_indexes(engine, on_built=lambda name: built.append((name, time.perf_counter() - start)))
    measures.append(Measure("key and indexes built, ANALYZE", time.perf_counter() - start, "s"))
    measures.append(_timed("ANALYZE again", lambda: analyze(engine)))
    measures.append(_timed("VACUUM, as autovacuum would", lambda: _vacuum(engine)))
    with out.status("comparing keys"):
        found = key_sums_of_pool(engine)
    wrong = sorted(name for name in loaded.keys.keys() | found.keys() if loaded.keys.get(name) != found.get(name))
    measures.append(Measure("files whose keys differ from the generator's", len(wrong), "files", at_most=0))
    sizes = table_sizes(engine)
    pool = sum(size for name, size in sizes.items() if name.split(".")[-1] in _of_pool(engine))
    measures.append(Measure("pool with its indexes", pool / 1e9, "GB"))
    measures.append(Measure("most disk used by everything", watch.peak_bytes / 1e9, "GB", at_most=MAX_DISK_GB))
    details = {
        "batches_rows_seconds": [(rows, round(s, 3)) for rows, s in loaded.batches],
        "index_finished_after_s": {name: round(s, 1) for name, s in built},
        "files_with_other_keys": wrong[:20],
        "n_files": len(loaded.keys),
        "bytes": sizes,
    }
    return measures, details


def _load(engine: Engine, session: SparkSession, n_rows: int, folder: Path, out: Console) -> Loaded:
    sky = boxes(n_rows)
    lenses = known_lenses(engine)
    writer = SweepWriter(max(box.n_rows for box in sky))
    loaded = Loaded()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=out) as bar:
        shown = bar.add_task("load", total=n_rows)
        for batch in batches(sky, min(LARGEST_BATCH, max(n_rows // 8, 1))):
            part = folder / "batch"
            part.mkdir()
            for box in batch:
                loaded.keys[box.name] = key_sum(writer.write(part, box, lenses))
            seconds, n_kept = load_with_spark(engine, session, part)
            loaded.batches.append((n_kept, seconds))
            for path in part.iterdir():
                path.unlink()
            part.rmdir()
            bar.update(shown, advance=n_kept, description=f"load, {n_kept / seconds / 1000:4.0f} k rows/s")
    return loaded


def load_lenses(engine: Engine) -> None:
    """Load every known lens: lenscat, and the later discoveries where the shared data are at hand."""
    load_lenscat(engine)
    table = Path(os.environ.get("STRONGLENS_TEST_DATA", CHECKOUT.parent / "shared" / "data")) / LATER_TABLE
    if table.exists():
        load_table(engine, table, LATER_PAPER)


def known_lenses(engine: Engine) -> Lenses:
    """Positions of all known lenses, and which are training positives."""
    with engine.connect() as connection:
        rows = connection.execute(select(Lens.ra, Lens.dec, Lens.tier).order_by(Lens.lens_id)).all()
    tier = np.array([row.tier is not None for row in rows], np.bool_)
    return Lenses(np.array([row.ra for row in rows]), np.array([row.dec for row in rows]), tier)


def batches(sky: list[Box], n_rows: int) -> list[list[Box]]:
    """Cut the files, in order, into batches of about `n_rows`; two or more each, so that both workers have some."""
    cut: list[list[Box]] = [[]]
    for box in sky:
        if len(cut[-1]) >= 2 and sum(other.n_rows for other in cut[-1]) + box.n_rows / 2 > n_rows:
            cut.append([])
        cut[-1].append(box)
    if len(cut) > 1 and len(cut[-1]) == 1:
        last = cut.pop()
        cut[-1] += last
    return cut


def _rates(loaded: Loaded, n_rows: int) -> list[Measure]:
    window = min(10_000_000, n_rows // 8)
    marks = [round(mark / N_SURVEY_ROWS * n_rows) for mark in MARKS]
    rates = [loaded.rate_before(mark, window) for mark in marks]
    made = [Measure(f"rate at {mark:,} rows", rate, "rows/s") for mark, rate in zip(marks, rates, strict=True)]
    fall = min(rates) / rates[0]
    return [*made, Measure("slowest of these / first", fall, "x", at_least=0.85)]


def _timed(name: str, work: Any) -> Measure:
    start = time.perf_counter()
    work()
    return Measure(name, time.perf_counter() - start, "s")


def _vacuum(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM catalog.galaxy"))


def _of_pool(engine: Engine) -> set[str]:
    statement = text(
        "SELECT 'galaxy' UNION SELECT indexrelid::regclass::text FROM pg_index "
        "WHERE indrelid = 'catalog.galaxy'::regclass"
    )
    with engine.connect() as connection:
        return {str(name).split(".")[-1] for name in connection.scalars(statement)}
