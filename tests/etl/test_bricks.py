"""The grid of bricks against real bricks of the survey, and against a grid laid out one brick at a time."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from etl import bricks


@pytest.fixture(scope="module")
def grid() -> tuple[list[str], np.ndarray]:
    """Names, and edges (ra from, ra to, dec from, dec to), of all bricks, laid out row by row."""
    names, edges = [], []
    for row in range(721):
        centre = row / 4 - 90
        south, north = max(centre - 0.125, -90), min(centre + 0.125, 90)
        widest = 0.0 if south < 0 < north else min(abs(south), abs(north))
        count = 1 if abs(centre) == 90 else 2 * math.ceil(720 * math.cos(math.radians(widest)))
        for column in range(count):
            west, east = 360 * column / count, 360 * (column + 1) / count
            tenths = int((west + east) / 2 * 10 + 1e-6), int(abs(centre) * 10 + 1e-6)
            names.append(f"{tenths[0]:04d}{'m' if centre < 0 else 'p'}{tenths[1]:03d}")
            edges.append((west, east, south, north))
    return names, np.array(edges)


def test_there_are_as_many_bricks_as_the_survey_says_each_with_a_name_of_its_own() -> None:
    names = bricks.name_of(np.arange(1, bricks.N_BRICKS + 1))
    assert len(set(names.tolist())) == bricks.N_BRICKS == 662_174


def test_numbers_and_names_are_those_of_a_grid_laid_out_brick_by_brick(grid: tuple[list[str], np.ndarray]) -> None:
    names, edges = grid
    numbers = np.arange(1, len(names) + 1)
    assert bricks.name_of(numbers).tolist() == names
    assert np.array_equal(bricks.brick_of_name(names), numbers)
    ra, dec = bricks.centre_of(numbers)
    assert np.allclose(ra, edges[:, :2].mean(axis=1), rtol=0, atol=1e-9)
    assert np.array_equal(bricks.brick_of(ra, dec), numbers)


def test_positions_anywhere_lie_in_the_brick_whose_edges_enclose_them(grid: tuple[list[str], np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    ra = np.concatenate([rng.uniform(0, 360, 20_000), [0, np.nextafter(360, 0), 0, 12.3, 12.3]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000))), [0, 0, -0.125, -90, 90]])
    found = bricks.brick_of(ra, dec)
    west, east, south, north = grid[1][found - 1].T
    assert ((ra >= west - 1e-9) & (ra <= east + 1e-9) & (dec >= south) & (dec <= north)).all()
    assert found[-2:].tolist() == [1, bricks.N_BRICKS]
    assert (bricks.distance_outside(found, ra, dec) < 1e-6).all()


def test_real_bricks_of_the_survey_are_found_by_position_and_by_name(shared_data: Path) -> None:
    n_rows = 0
    for path in sorted((shared_data / "sweeps").glob("*.fits")):
        table = fits.getdata(path, 1)
        columns = {name.upper(): np.asarray(table[name]) for name in table.dtype.names}
        names, numbers = np.char.strip(columns["BRICKNAME"].astype(str)), columns["BRICKID"]
        assert np.array_equal(bricks.brick_of(columns["RA"], columns["DEC"]), numbers), path.name
        assert np.array_equal(bricks.brick_of_name(names), numbers), path.name
        assert np.array_equal(bricks.name_of(numbers), names), path.name
        n_rows += len(numbers)
    assert n_rows == 19


def test_real_galaxies_lie_in_the_bricks_that_the_survey_names(shared_data: Path) -> None:
    with (shared_data / "sweeps" / "dr10_lrg_rows.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    ra, dec = (np.array([float(row[name]) for row in rows]) for name in ("RA", "DEC"))
    names = [row["BRICKNAME"] for row in rows]
    assert len(rows) == 9239
    assert bricks.name_of(bricks.brick_of(ra, dec)).tolist() == names
    assert bricks.distance_outside(bricks.brick_of_name(names), ra, dec).max() == 0


@pytest.mark.parametrize(
    "name", ["0001m041", "9999p000", "", "0001m04", "0001m0400", "0001x040", "000Xm040", "3600p000"]
)
def test_what_names_no_brick_is_none(name: str) -> None:
    found = bricks.brick_of_name([name, "0001m040"])
    assert found[0] == 0
    assert bricks.name_of(found[1:]).tolist() == ["0001m040"]


def test_no_bricks_have_no_names_and_no_positions() -> None:
    none = np.empty(0)
    assert bricks.name_of(bricks.brick_of(none, none)).tolist() == []
    assert bricks.brick_of_name([]).tolist() == []
    assert bricks.distance_outside(none, none, none).tolist() == []


def test_distances_outside_a_brick_are_those_of_the_sky() -> None:
    brick = bricks.brick_of([0.1], [60.0])
    ra, _ = bricks.centre_of(brick)
    half_width = ra[0]  # the first brick of its row starts at 0
    beside = bricks.distance_outside(brick.repeat(3), [2 * half_width + 0.01, 359.99, ra[0]], [60.0, 60.0, 60.126])
    assert beside == pytest.approx([0.01 * 3600 * 0.5, 0.01 * 3600 * 0.5, 0.001 * 3600], rel=1e-6)
