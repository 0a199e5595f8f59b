"""Does it pay to order the pool's rows, or to partition it? Copies of a part of the pool, laid out in several ways."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import healpy
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from sqlalchemy import Connection, Engine, select, text

from db.copy import copy_arrow, psycopg_connection
from db.embedded import EmbeddedServer
from db.models.catalog import Galaxy
from etl.sweeps.columns import GALAXY_SCHEMA
from etl.sweeps.reader import CHUNK_ROWS
from tests.bench.limits import Measure, median
from tests.bench.pool.rates import REPEATS
from tests.bench.pool.searches import RADIUS_ARCSEC, cone_seconds, positions
from tests.bench.pool.sky import boxes

ROWS = 3_000_000
N_CONES = 200
_COPIED_ROWS = 150_000
_IPIX = "q3c_ang2ipix(ra, dec)"
_BANDS = (-90, -60, -45, -30, -15, 0, 15, 30, 91)


@dataclass(frozen=True)
class Layout:
    """A way to lay out the rows: the order in which they are written, and what the table is divided by."""

    name: str
    table: str
    order: str = "sweep_file_id, place"
    partition: str = ""
    parts: tuple[str, ...] = ()


LAYOUTS = (
    Layout("as in the files", "natural"),
    Layout(
        "sorted within each chunk of the reader",
        "within_chunk",
        order=f"sweep_file_id, (row_number() OVER (ORDER BY sweep_file_id, place)) / {CHUNK_ROWS}, {_IPIX}",
    ),
    Layout("sorted within each file", "within_file", order=f"sweep_file_id, {_IPIX}"),
    Layout("sorted as a whole (CLUSTER)", "clustered", order=_IPIX),
    Layout(
        "8 partitions by declination",
        "by_dec",
        partition="PARTITION BY RANGE (dec)",
        parts=tuple(f"FOR VALUES FROM ({low}) TO ({high})" for low, high in pairwise(_BANDS)),
    ),
    Layout(
        "2 partitions by survey",
        "by_survey",
        partition="PARTITION BY LIST (survey)",
        parts=("FOR VALUES IN ('dr10')", "FOR VALUES IN ('mock')"),
    ),
)


def measure_order(server: EmbeddedServer, engine: Engine, n_rows: int, out: Console) -> list[Measure]:
    """Copy up to `ROWS` rows of the pool into each layout and measure cones, exclusion and writing there."""
    measures: list[Measure] = []
    with engine.connect() as connection:
        files = _first_files(connection)
        chosen = tuple(files)
    sky = [box for box in boxes(n_rows) if box.name in files.values()]
    centres = positions(sky, N_CONES, 7)
    sample = _sample(engine)
    for layout in LAYOUTS:
        with out.status(f"laying out: {layout.name}"):
            _drop(engine)
            with engine.begin() as connection:
                found = [Measure("rows copied and sorted in SQL", _lay_out(connection, layout, chosen), "s")]
            found += _search(server, engine, layout, centres)
            found.append(_rate_of_copy(engine, layout, sample))
            _drop(engine)
        for measure in found:
            out.print(f"  {layout.name}: {measure.name}: {measure.value:,.3g} {measure.unit}")
        measures += [replace(measure, name=f"{layout.name}: {measure.name}") for measure in found]
    return [*measures, _cost_of_sorting(sample)]


def _first_files(connection: Connection) -> dict[int, str]:
    """The first files of the pool, `ROWS` rows or a little more together: name by key."""
    rows = connection.execute(
        text(
            "SELECT sweep_file_id, name, n_kept FROM catalog.sweep_file WHERE status = 'loaded' ORDER BY sweep_file_id"
        )
    ).all()
    before = np.cumsum([0, *(row.n_kept for row in rows)])[:-1]
    return {row.sweep_file_id: row.name for row, n in zip(rows, before, strict=True) if n < ROWS}


def _drop(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS bench CASCADE"))


def _lay_out(connection: Connection, layout: Layout, files: tuple[int, ...]) -> float:
    """Copy rows in an order, then build the index; seconds of the copy alone."""
    table = f"bench.{layout.table}"
    connection.execute(text("CREATE SCHEMA bench"))
    connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))  # workers would mix up the order
    connection.execute(
        text(f"CREATE TABLE {table} (LIKE catalog.galaxy INCLUDING CONSTRAINTS INCLUDING DEFAULTS) {layout.partition}")
    )
    for number, bounds in enumerate(layout.parts):
        connection.execute(text(f"CREATE TABLE {table}_{number} PARTITION OF {table} {bounds}"))
    columns = ", ".join(Galaxy.__table__.columns.keys())
    statement = text(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM (SELECT *, ctid AS place FROM catalog.galaxy "
        f"WHERE sweep_file_id = ANY(:files)) AS g ORDER BY {layout.order}"
    )
    start = time.perf_counter()
    connection.execute(statement, {"files": list(files)})
    seconds = time.perf_counter() - start
    connection.execute(text(f"CREATE INDEX ON {table} ({_IPIX})"))
    connection.execute(text(f"ANALYZE {table}"))
    return seconds


def _search(server: EmbeddedServer, engine: Engine, layout: Layout, centres: NDArray[np.float64]) -> list[Measure]:
    table = f"bench.{layout.table}"
    statement = text(
        f"SELECT *, q3c_dist(ra, dec, :ra, :dec) FROM {table} WHERE q3c_radial_query(ra, dec, :ra, :dec, :radius)"
    )

    def search(connection: Connection, ra: float, dec: float) -> int:
        return len(connection.execute(statement, {"ra": ra, "dec": dec, "radius": RADIUS_ARCSEC / 3600}).all())

    _forget(server, engine, layout)
    measures = []
    for state in ("heap on disk", "cached"):
        with engine.connect() as connection:
            # Planned once, as in the SQL functions: planning a hundred ranges anew would hide what order does.
            connection.execute(text("SET plan_cache_mode = force_generic_plan"))
            seconds, _ = cone_seconds(connection, search, centres)
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        measures.append(Measure(f"cone of 1', {state}, p50", float(p50), "ms"))
        measures.append(Measure(f"cone of 1', {state}, p99", float(p99), "ms"))
    with engine.connect() as connection:
        blocks = [_heap_blocks(connection, table, ra, dec) for ra, dec in centres[:100].tolist()]
        measures.append(Measure("blocks of the heap that a cone touches", float(np.mean(blocks)), "blocks"))
    seconds = [_exclusion_seconds(engine, table) for _ in range(REPEATS)]
    return [*measures, median('galaxies within 11" of all lenses, cached', seconds, "s")]


def _forget(server: EmbeddedServer, engine: Engine, layout: Layout) -> None:
    """Let neither server nor kernel remember the heap; the index stays in the kernel's memory."""
    with engine.connect() as connection:
        paths = connection.scalars(
            text(
                "SELECT pg_relation_filepath(c.oid) FROM pg_class AS c "
                "WHERE c.relnamespace = 'bench'::regnamespace AND c.relkind = 'r'"
            )
        ).all()
    engine.dispose()
    server.stop()
    for path in paths:
        for segment in (server.places.data / path).parent.glob(f"{Path(path).name}*"):
            with segment.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    server.start()


def _heap_blocks(connection: Connection, table: str, ra: float, dec: float) -> int:
    """Count the distinct blocks that hold a cone's rows."""
    statement = text(
        f"SELECT count(DISTINCT (tableoid, (ctid::text::point)[0])) FROM {table} "
        "WHERE q3c_radial_query(ra, dec, :ra, :dec, :radius)"
    )
    return int(connection.scalar(statement, {"ra": ra, "dec": dec, "radius": RADIUS_ARCSEC / 3600}) or 0)


def _exclusion_seconds(engine: Engine, table: str) -> float:
    statement = text(
        f"SELECT count(*) FROM catalog.lens AS l JOIN {table} AS g ON q3c_join(l.ra, l.dec, g.ra, g.dec, 11 / 3600.0)"
    )
    start = time.perf_counter()
    with engine.connect() as connection:
        connection.scalar(statement)
    return time.perf_counter() - start


def _rate_of_copy(engine: Engine, layout: Layout, rows: pa.Table) -> Measure:
    """Write the same rows by binary COPY into the empty table, without index, as a first load does."""
    rates = []
    with engine.begin() as connection:
        columns = connection.execute(
            text("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = CAST(:table AS regclass)"),
            {"table": f"bench.{layout.table}"},
        )
        for index in columns.scalars().all():
            connection.execute(text(f"DROP INDEX {index}"))
    for _ in range(REPEATS):
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE bench.{layout.table}"))
        start = time.perf_counter()
        with engine.begin() as connection:
            copy_arrow(psycopg_connection(connection), f"bench.{layout.table}", rows)
        rates.append(rows.num_rows / (time.perf_counter() - start))
    return median("rows written by one process", rates, "rows/s")


def _cost_of_sorting(rows: pa.Table) -> Measure:
    """What it takes to sort a file's rows by place on the sky before they are written."""
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        cells = healpy.ang2pix(2**20, rows["ra"].to_numpy(), rows["dec"].to_numpy(), nest=True, lonlat=True)
        rows.take(np.argsort(cells))
        rates.append(rows.num_rows / (time.perf_counter() - start))
    return median("sorting a file's rows in memory, one process", rates, "rows/s")


def _sample(engine: Engine) -> pa.Table:
    """Rows of the pool's first files, as they go into COPY."""
    columns = [Galaxy.__table__.columns[name] for name in GALAXY_SCHEMA.names]
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(Galaxy.sweep_file_id).limit(_COPIED_ROWS))
        arrays = [
            pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), GALAXY_SCHEMA, strict=True)
        ]
    return pa.table(arrays, schema=GALAXY_SCHEMA)
