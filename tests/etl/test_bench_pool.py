"""The benchmark measures what it says: its files hold the keys it remembers, its sums tell sets of keys apart."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from pyspark.sql import SparkSession
from sqlalchemy import Engine, text

from db.bulk import build_indexes
from etl.sweeps.box import box_of_name
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.reader import read_sweep
from etl.sweeps.select import PoolSelection
from tests.bench.limits import Measure, median
from tests.bench.pool.checksum import key_sum, key_sums_of_pool
from tests.bench.pool.full_scale import Loaded, batches
from tests.bench.pool.plans import shortened
from tests.bench.pool.rates import load_with_spark
from tests.bench.pool.sky import Box, boxes, bricks
from tests.bench.pool.sweep_file import NO_LENSES, Lenses, SweepWriter

ARCSEC = 1 / 3600
BOX = Box(number=77, ra=355, dec=-5, n_rows=12_000)


def pool_rows(path: Path) -> pa.Table:
    """Rows of a file as the loader selects them."""
    selection = PoolSelection(SweepLoadConfig(), "dr10", 1, box_of_name(path.name))
    return pa.Table.from_batches([selection.select(rows) for rows in read_sweep(path)])


def test_a_survey_has_its_number_of_files_and_a_smaller_one_fewer_of_the_same_density() -> None:
    survey, small = boxes(114_000_000), boxes(3_000_000)
    assert len(survey) == 1436
    assert len({box.name for box in survey}) == len({box.number for box in survey}) == 1436
    assert sum(box.n_rows for box in survey) == 114_000_000
    assert sum(box.n_rows for box in small) == 3_000_000
    for sky in (survey, small):
        assert np.mean([box.n_rows for box in sky]) == pytest.approx(114_000_000 / 1436, rel=0.05)
        assert all(box_of_name(box.name).dec_min == box.dec for box in sky)


def test_bricks_of_neighbouring_boxes_share_neither_number_nor_name() -> None:
    sky = [box for box in boxes(114_000_000) if box.ra in {0, 5, 355}]
    patches = [bricks(box) for box in sky]
    for values in ("brickid", "name"):
        every = np.concatenate([getattr(patch, values) for patch in patches])
        assert len(np.unique(every)) == len(every)


def test_a_file_is_sound_fits_and_the_loader_finds_the_keys_that_were_remembered(tmp_path: Path) -> None:
    keys = SweepWriter(BOX.n_rows, kept=0.5).write(tmp_path, BOX)
    path = tmp_path / BOX.name
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert hdus[1].header["NAXIS1"] == 505
        assert len(hdus[1].data) == BOX.n_rows
        assert set(np.char.strip(hdus[1].data["TYPE"].view(np.ndarray))) == {"SER", "DEV", "REX", "EXP", "PSF"}
    rows = pool_rows(path)
    assert 0.45 < len(keys) / BOX.n_rows < 0.55
    assert len(np.unique(keys)) == len(keys)
    np.testing.assert_array_equal(rows["ls_id"].to_numpy(), keys)


def test_each_positive_has_a_galaxy_of_a_stratum_within_half_an_arcsecond(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ra, dec = 355 + 5 * rng.random(40), -5 + 5 * rng.random(40)
    lenses = Lenses(np.append(ra, 10.0), np.append(dec, 10.0), np.arange(41) % 2 == 0)
    keys = SweepWriter(BOX.n_rows, kept=0.04).write(tmp_path, BOX, lenses)
    rows = pool_rows(tmp_path / BOX.name)
    np.testing.assert_array_equal(rows["ls_id"].to_numpy(), keys)
    is_bright = rows["flux_z"].to_numpy() > 10
    is_of_stratum = np.isin(rows["type"].to_numpy(zero_copy_only=False), ["SER", "DEV", "REX"]) & is_bright
    for number in range(0, 40, 2):
        gap = np.hypot(
            (rows["ra"].to_numpy() - ra[number]) * np.cos(np.radians(dec[number])), rows["dec"].to_numpy() - dec[number]
        )
        assert is_of_stratum[gap < 0.5 * ARCSEC].any()


def test_the_same_file_is_written_twice_alike_though_another_came_between(tmp_path: Path) -> None:
    writer = SweepWriter(BOX.n_rows)
    lens = Lenses(np.array([357.0]), np.array([-2.0]), np.array([True]))
    first = writer.write(tmp_path, BOX, lens)
    content = (tmp_path / BOX.name).read_bytes()
    writer.write(tmp_path, replace(BOX, number=78, dec=0), NO_LENSES)
    np.testing.assert_array_equal(writer.write(tmp_path, BOX, lens), first)
    assert (tmp_path / BOX.name).read_bytes() == content


def test_the_sum_of_keys_is_that_of_whole_numbers() -> None:
    keys = np.random.default_rng(1).integers(0, 2**62, 2000)
    whole = [int(key) for key in keys]
    found, p = key_sum(keys), 2_147_483_647
    assert (found.n, found.total) == (2000, sum(whole))
    assert found.xor == reduce(xor, whole)
    assert found.squares == sum((key % p) ** 2 for key in whole)


def test_the_pool_adds_up_to_the_generators_keys_and_to_others_once_a_key_is_another(
    engine: Engine, spark: SparkSession, tmp_path: Path
) -> None:
    writer = SweepWriter(10_000)
    folder = tmp_path / "sweeps"
    folder.mkdir()
    sky = [replace(box, n_rows=10_000) for box in boxes(114_000_000)[:2]]
    expected = {box.name: key_sum(writer.write(folder, box)) for box in sky}
    _, n_kept = load_with_spark(engine, spark, folder)
    assert n_kept == 20_000
    build_indexes(engine)
    assert key_sums_of_pool(engine) == expected
    with engine.begin() as connection:
        # Two keys change places with two others of the same sum: only the mixes can tell.
        connection.execute(
            text(
                "UPDATE catalog.galaxy SET ls_id = ls_id + CASE WHEN ls_id = (SELECT max(ls_id) FROM catalog.galaxy) "
                "THEN 5000 ELSE -5000 END WHERE ls_id IN "
                "((SELECT max(ls_id) FROM catalog.galaxy), (SELECT max(ls_id) - 1 FROM catalog.galaxy))"
            )
        )
    changed = key_sums_of_pool(engine)
    assert sum(one.total for one in changed.values()) == sum(one.total for one in expected.values())
    assert changed != expected


def test_every_file_is_in_one_batch_and_none_is_alone() -> None:
    sky = boxes(10_000_000)
    cut = batches(sky, 600_000)
    assert [box for batch in cut for box in batch] == sky
    assert len(cut) > 10
    assert all(len(batch) >= 2 for batch in cut)
    assert [box for batch in batches(sky[:5], 1) for box in batch] == sky[:5]


def test_the_rate_at_a_mark_is_that_of_the_batches_before_it() -> None:
    loaded = Loaded(batches=[(100, 1.0), (100, 1.0), (100, 2.0), (100, 4.0)])
    assert loaded.rate_before(100, 100) == 100
    assert loaded.rate_before(300, 100) == 50
    assert loaded.rate_before(400, 200) == pytest.approx(200 / 6)


@pytest.mark.parametrize(
    ("measure", "verdict"),
    [
        (Measure("a", 0.85, "x", at_least=0.85), "PASS"),
        (Measure("a", 0.84, "x", at_least=0.85), "FAIL"),
        (Measure("a", 2.1, "ms", at_most=2), "FAIL"),
        (Measure("a", float("nan"), "ms", at_most=2), "FAIL"),
        (Measure("a", 2.1, "ms"), ""),
    ],
)
def test_a_measure_is_held_against_its_limit(measure: Measure, verdict: str) -> None:
    assert measure.verdict == verdict


def test_a_median_keeps_its_samples() -> None:
    assert median("a", [3.0, 1.0, 2.0], "s", at_most=2) == Measure("a", 2.0, "s", at_most=2, samples=(3.0, 1.0, 2.0))


def test_a_plan_is_shown_without_its_repetitions() -> None:
    ranges = ["  ->  Bitmap Index Scan on ix  (cost=0.00..1.54 rows=1 width=0)", "        Index Cond: (q3c > 1)"] * 100
    scan = "Seq Scan on t  (cost=0.00..1.54 rows=1 width=0)"
    message = "\n".join(
        ["duration: 1.5 ms  plan:", "Query Text: SELECT", " 1", "BitmapOr  (cost=1.0..2.0)", *ranges, scan]
    )
    lines = shortened(message).splitlines()
    assert lines[:3] == ["duration: 1.5 ms  plan:", "Query Text: SELECT 1 ...", "BitmapOr  (cost=1.0..2.0)"]
    assert lines[3:9] == ranges[:6]
    assert lines[9:] == [scan, "[100 x ->  Bitmap Index Scan on ix]"]
