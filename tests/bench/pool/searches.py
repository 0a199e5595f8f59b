"""Searches in the full pool: cones, the exclusion list, the draw; and the plans that they had."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sqlalchemy import Connection, Engine, text

from db.models.catalog import Galaxy
from db.sky import Position, cone
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.match import MatchConfig, match_lenses
from tests.bench.limits import Measure, median
from tests.bench.pool.plans import plans_of
from tests.bench.pool.rates import REPEATS
from tests.bench.pool.sky import N_SURVEY_ROWS, Box, boxes

N_CONES = 1000
RADIUS_ARCSEC = 60.0
_ROWS_OF_FUNCTION = text("SELECT * FROM results.cone(:ra, :dec, :radius)")
_COUNT = text("SELECT sampling.nobs_z_bin(nobs_z), type, count(*) FROM catalog.galaxy GROUP BY 1, 2")
_MATCHED = "catalog.lens_match, catalog.lens_neighbour, catalog.matched_lens, catalog.matched_file"

Search = Callable[[Connection, float, float], int]


def measure_searches(engine: Engine, n_rows: int, out: Console) -> tuple[list[Measure], dict[str, list[str]]]:
    """Measure all searches in a finished pool; measures, and plans by search."""
    plans: dict[str, list[str]] = {}
    measures = _cones(engine, n_rows, out, plans)
    measures += _exclusion(engine, out, plans)
    measures += _draw(engine, n_rows, out, plans)
    return measures, plans


def positions(sky: list[Box], n: int, seed: int) -> NDArray[np.float64]:
    """Draw positions within boxes, shape (n, 2), degrees; boxes count as they hold galaxies."""
    rng = np.random.default_rng(seed)
    weight = np.array([box.n_rows for box in sky], float)
    chosen = rng.choice(len(sky), n, p=weight / weight.sum())
    corner = np.array([(box.ra, box.dec) for box in sky], float)[chosen]
    return corner + rng.uniform(0.05, 4.95, (n, 2))


def by_function(connection: Connection, ra: float, dec: float) -> int:
    """Ask the SQL function, as an astronomer with psql does."""
    return len(connection.execute(_ROWS_OF_FUNCTION, {"ra": ra, "dec": dec, "radius": RADIUS_ARCSEC}).all())


def by_module(connection: Connection, ra: float, dec: float) -> int:
    """Ask through `db.sky`, as the stages do."""
    return len(connection.execute(cone(Galaxy, centre=Position(ra, dec), radius_arcsec=RADIUS_ARCSEC)).all())


def _cones(engine: Engine, n_rows: int, out: Console, plans: dict[str, list[str]]) -> list[Measure]:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_prewarm('catalog.ix_galaxy_q3c', 'read')"))
    sky = boxes(n_rows)
    measures = []
    ways: list[tuple[str, Search]] = [("results.cone", by_function), ("db.sky.cone", by_module)]
    for seed, (name, search) in enumerate(ways, start=1):
        with engine.connect() as connection:
            seconds, n_found = cone_seconds(connection, search, positions(sky, N_CONES, seed))
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        out.print(f"  {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {n_found / N_CONES:.1f} rows a cone")
        measures.append(Measure(f"cone of 1', {name}, p50", float(p50), "ms", at_most=2))
        measures.append(Measure(f"cone of 1', {name}, p99", float(p99), "ms", at_most=20))
        with plans_of(engine, at_least_ms=0) as plans[name], engine.connect() as connection:
            search(connection, *positions(sky, 1, 99)[0])
    return measures


def cone_seconds(connection: Connection, search: Search, centres: NDArray[np.float64]) -> tuple[list[float], int]:
    """Time one search a position, its rows fetched; seconds, and rows found by all."""
    for ra, dec in centres[:5] + 0.01:  # connection and prepared statement; elsewhere, so no row is read beforehand
        search(connection, float(ra), float(dec))
    seconds, n_found = [], 0
    for ra, dec in centres.tolist():
        start = time.perf_counter()
        n_found += search(connection, ra, dec)
        seconds.append(time.perf_counter() - start)
    return seconds, n_found


def _exclusion(engine: Engine, out: Console, plans: dict[str, list[str]]) -> list[Measure]:
    seconds = []
    with plans_of(engine, at_least_ms=100) as found, out.status("matching all lenses"):
        for number in range(REPEATS):
            with engine.begin() as connection:
                connection.execute(text(f"TRUNCATE {_MATCHED}"))
            start = time.perf_counter()
            summary = match_lenses(engine, MatchConfig())[0]
            seconds.append(time.perf_counter() - start)
            if number == 0:
                plans["match"] = list(found)
    name = f'{summary.n_lenses:,} known lenses, all galaxies within 11"'
    out.print(f"  {name}: {np.median(seconds):.1f} s, {summary.n_neighbours:,} galaxies")
    return [
        median(name, seconds, "s", at_most=30),
        Measure("positives matched", summary.n_positives_matched, "lenses"),
        Measure("galaxies excluded", summary.n_neighbours, "rows"),
    ]


def _draw(engine: Engine, n_rows: int, out: Console, plans: dict[str, list[str]]) -> list[Measure]:
    """Measure the draw; its limit is for the survey's size, where its fixed quarter of a second is nothing."""
    counts, draws = [], []
    with plans_of(engine, at_least_ms=100) as found, out.status("drawing"):
        for number in range(REPEATS):
            counts.append(_seconds(lambda: _count(engine)))
            if number == 0:
                plans["count by stratum"] = list(found)
            n_before = len(found)
            config = DrawConfig(name=f"bench-{time.time_ns()}", seed=number + 1)
            start = time.perf_counter()
            summary = draw_negatives(engine, config)
            draws.append(time.perf_counter() - start)
            if number == 0:
                plans["draw"] = found[n_before:]
    count, draw = median("count(*) by stratum, parallel", counts, "s"), median("full draw", draws, "s")
    n_drawn = summary.n_by_pool.get("N1", 0) + summary.n_by_pool.get("N2", 0)
    out.print(f"  draw of {n_drawn:,}: {draw.value:.1f} s; one count by stratum: {count.value:.1f} s")
    return [
        count,
        draw,
        Measure("draw / count", draw.value / count.value, "x", at_most=2 if n_rows >= N_SURVEY_ROWS else None),
        Measure("negatives drawn", n_drawn, "rows"),
        Measure("wanting", summary.shortfall_n1 + summary.shortfall_n2, "rows"),
    ]


def _count(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(_COUNT).all()


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
