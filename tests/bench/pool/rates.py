"""How fast sweeps become rows: Spark against plain processes, against inflation alone, against other writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from isal import igzip
from rich.console import Console
from sqlalchemy import Engine, text

from db.bulk import begin_bulk
from db.embedded import EmbeddedServer
from db.engine import connectable
from db.provenance import recorded_run
from etl.sweeps.box import box_of_name
from etl.sweeps.columns import GALAXY_SCHEMA
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.load_file import LoadJob
from etl.sweeps.queue import fill_queue
from etl.sweeps.reader import read_sweep
from etl.sweeps.select import PoolSelection
from etl.sweeps.source import find_sources
from etl.sweeps.spark import local_session
from tests.bench.limits import Measure, median, ratio
from tests.bench.pool import peers
from tests.bench.pool.bench_server import over_tcp
from tests.bench.pool.jdbc import JdbcWriter, jdbc_writer
from tests.bench.pool.sky import N_SURVEY_BOXES, N_SURVEY_ROWS, boxes
from tests.bench.pool.sweep_file import SweepWriter

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPEATS = 3
SCAN_KEPT = 0.04


@dataclass(frozen=True)
class Sizes:
    """How many files of how many rows each comparison takes."""

    kept_files: int = 14
    kept_rows: int = N_SURVEY_ROWS // N_SURVEY_BOXES
    scan_files: int = 4
    scan_rows: int = 1_000_000
    jdbc_rows: int = 250_000
    jdbc_default_rows: int = 120_000


@dataclass(frozen=True)
class Input:
    """A folder of sweep files and what is in them."""

    folder: Path
    n_read: int
    n_kept: int

    @property
    def paths(self) -> list[Path]:
        """The files, by name."""
        return sorted(self.folder.iterdir())


def measure_rates(server: EmbeddedServer, engine: Engine, folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Measure everything that moves rows; the pool is emptied again and again, and at the end."""
    kept = _make(folder / "kept", sizes.kept_files, sizes.kept_rows, 1.0)
    scan = _make(folder / "scan", sizes.scan_files, sizes.scan_rows, SCAN_KEPT)
    packed = _pack(scan, folder / "packed")
    _empty(engine)
    with warm_session(engine, folder, out) as (session, started), peers.two_processes() as both:
        measures = [started]
        ours, others = _against_processes(engine, session, both, kept, out, "all rows kept")
        spark_kept = ours
        measures += [ours, *others, ratio("Spark / two processes, all rows kept", ours, others[0], 0.85)]
        ours, others = _against_processes(engine, session, both, scan, out, "4 % kept")
        measures += [ours, *others, ratio("Spark / two processes, 4 % kept", ours, others[0], 0.85)]
        measures += _against_inflation(engine, session, both, packed, out)
        csv = _repeat("astropy + CSV COPY", "rows/s", out, lambda: _csv(engine, both, kept, peers.astropy_csv_copy))
        arrow_csv = _repeat(
            "the same with Arrow's CSV writer", "rows/s", out, lambda: _csv(engine, both, kept, peers.arrow_csv_copy)
        )
    _empty(engine)
    measures += [csv, arrow_csv, ratio("Spark / astropy + CSV COPY", spark_kept, csv, 3)]
    measures += _against_jdbc(server, engine, kept, spark_kept, sizes, out)
    _empty(engine)
    return measures


@contextmanager
def warm_session(engine: Engine, folder: Path, out: Console) -> Iterator[tuple[SparkSession, Measure]]:
    """Start Spark and let its workers load one small file, so that they are up and have imported everything."""
    start = time.perf_counter()
    with local_session(2) as session:
        warm = _make(folder / "warm", 4, 2000, 1.0)
        _empty(engine)
        load_with_spark(engine, session, warm.folder)
        _empty(engine)
        started = Measure("Spark session and workers started (not counted below)", time.perf_counter() - start, "s")
        out.print(f"  Spark is up after {started.value:.1f} s")
        yield session, started


def load_with_spark(engine: Engine, session: SparkSession, folder: Path) -> tuple[float, int]:
    """Load a folder into the indexless pool; seconds, rows kept. A file that is not loaded is an error."""
    sources = find_sources([str(folder)])
    options = LoadOptions(bulk=True, index=False, session=lambda _n_workers: nullcontext(session))
    start = time.perf_counter()
    result = load_sweeps(engine, sources, SweepLoadConfig(), options)
    seconds = time.perf_counter() - start
    for outcome in result.files:
        if outcome.status != "loaded":
            message = f"{outcome.name} was {outcome.status}: {outcome.reason}"
            raise RuntimeError(message)
    return seconds, result.n_kept


def _against_processes(
    engine: Engine, session: SparkSession, both: peers.TwoProcesses, given: Input, out: Console, what: str
) -> tuple[Measure, list[Measure]]:
    spark, queue, bare = [], [], []
    for _ in range(REPEATS):  # in turn, so that a slow minute of the machine strikes all alike
        spark.append(_spark(engine, session, given))
        queue.append(_queue(engine, both, given))
        bare.append(_bare(engine, both, given))
    ours = median(f"Spark local[2], {what}", spark, "rows/s")
    others = [
        median(f"two processes, {what}", queue, "rows/s"),
        median(f"two processes without ledger and hashes, {what}", bare, "rows/s"),
    ]
    for measure in (ours, *others):
        out.print(f"  {measure.name}: {measure.value:,.0f} rows/s")
    return ours, others


def _against_inflation(
    engine: Engine, session: SparkSession, both: peers.TwoProcesses, given: Input, out: Console
) -> list[Measure]:
    spark, bare = [], []
    for _ in range(REPEATS):
        spark.append(_spark(engine, session, given))
        first, second = peers.split(given.paths)
        bare.append(given.n_read / both.seconds(peers.inflate, (first,), (second,)))
    ours = median("Spark local[2], .gz, 4 % kept", spark, "rows/s")
    alone = median("isal inflation alone, two processes", bare, "rows/s")
    out.print(f"  .gz: {ours.value:,.0f} rows/s, inflation alone {alone.value:,.0f}")
    return [ours, alone, ratio("Spark / inflation alone, .gz, 4 % kept", ours, alone, 0.55)]


def _against_jdbc(
    server: EmbeddedServer, engine: Engine, kept: Input, ours: Measure, sizes: Sizes, out: Console
) -> list[Measure]:
    """JDBC knows TCP only: the server is restarted for it."""
    parquet = kept.folder.parent / "kept.parquet"
    _write_parquet(kept, parquet, sizes.jdbc_rows)
    engine.dispose()
    with over_tcp(server, str(engine.url.database)) as url, jdbc_writer(url) as jdbc:
        pool = connectable(url)
        jdbc.hold(parquet, 10_000)
        _jdbc(pool, jdbc, 10_000, {}, rewrite=True)  # warms both sides
        rows = min(sizes.jdbc_rows, kept.n_kept)
        jdbc.hold(parquet, rows)
        best = _repeat(
            "Spark JDBC, batch rewriting, 10,000 a batch",
            "rows/s",
            out,
            lambda: _jdbc(pool, jdbc, rows, {"batchsize": "10000"}, rewrite=True),
        )
        few = min(sizes.jdbc_default_rows, rows)
        jdbc.hold(parquet, few)
        plain = _repeat("Spark JDBC, default", "rows/s", out, lambda: _jdbc(pool, jdbc, few, {}, rewrite=False))
        pool.dispose()
    return [
        best,
        plain,
        ratio("Spark / JDBC with batch rewriting", ours, best, 5),
        ratio("Spark / JDBC, default", ours, plain, 10),
    ]


def _repeat(name: str, unit: str, out: Console, once: Callable[[], float]) -> Measure:
    measure = median(name, [once() for _ in range(REPEATS)], unit)
    out.print(f"  {measure.name}: {measure.value:,.0f} {unit}")
    return measure


def _spark(engine: Engine, session: SparkSession, given: Input) -> float:
    _empty(engine)
    seconds, _ = load_with_spark(engine, session, given.folder)
    _check(engine, given.n_kept)
    return given.n_read / seconds


def _queue(engine: Engine, both: peers.TwoProcesses, given: Input) -> float:
    _empty(engine)
    begin_bulk(engine)
    config = SweepLoadConfig()
    with recorded_run(engine, command="sweeps load", config=config) as run:
        fill_queue(engine, run.run_id, find_sources([str(given.folder)]))
        job = LoadJob(run.run_id, config, engine.url.render_as_string(hide_password=False))
        seconds = both.seconds(peers.take_from_queue, (job,), (job,))
    _check(engine, given.n_kept)
    return given.n_read / seconds


def _bare(engine: Engine, both: peers.TwoProcesses, given: Input) -> float:
    _empty(engine)
    begin_bulk(engine)
    url = engine.url.render_as_string(hide_password=False)
    first, second = peers.split(given.paths)
    seconds = both.seconds(peers.read_and_copy, (url, first), (url, second))
    _check(engine, given.n_kept)
    return given.n_read / seconds


def _csv(engine: Engine, both: peers.TwoProcesses, given: Input, loader: Callable[..., None]) -> float:
    _empty(engine)
    begin_bulk(engine)
    url = engine.url.render_as_string(hide_password=False)
    first, second = peers.split(given.paths)
    seconds = both.seconds(loader, (url, first), (url, second))
    _check(engine, given.n_kept)
    return given.n_read / seconds


def _jdbc(engine: Engine, jdbc: JdbcWriter, n_rows: int, options: dict[str, str], *, rewrite: bool) -> float:
    _empty(engine)
    begin_bulk(engine)
    seconds = jdbc.seconds(options, rewrite=rewrite)
    _check(engine, n_rows)
    return n_rows / seconds


def _make(folder: Path, n_files: int, n_rows: int, kept: float) -> Input:
    folder.mkdir()
    writer = SweepWriter(n_rows, kept=kept)
    chosen = [replace(box, n_rows=n_rows) for box in boxes(N_SURVEY_ROWS)[::50][:n_files]]
    n_kept = sum(len(writer.write(folder, box)) for box in chosen)
    return Input(folder, n_files * n_rows, n_kept)


def _pack(given: Input, folder: Path) -> Input:
    folder.mkdir()
    for path in given.paths:
        (folder / f"{path.name}.gz").write_bytes(igzip.compress(path.read_bytes(), compresslevel=1))
    return replace(given, folder=folder)


def _write_parquet(given: Input, path: Path, n_rows: int) -> None:
    written = 0
    with pq.ParquetWriter(path, GALAXY_SCHEMA) as writer:
        for number, file in enumerate(given.paths, start=1):
            selection = PoolSelection(SweepLoadConfig(), "dr10", number, box_of_name(file.name))
            for rows in read_sweep(file):
                galaxies = selection.select(rows)
                writer.write_batch(galaxies)
                written += galaxies.num_rows
            if written >= n_rows:
                return


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE catalog.galaxy, catalog.sweep_file, catalog.sweep_task, catalog.brick CASCADE")
        )


def _check(engine: Engine, n_expected: int) -> None:
    with engine.connect() as connection:
        n_found = connection.scalar(text("SELECT count(*) FROM catalog.galaxy"))
    if n_found != n_expected:
        message = f"{n_found} rows were written, expected {n_expected}"
        raise RuntimeError(message)
