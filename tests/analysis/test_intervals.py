"""Intervals against scipy and published values."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sqlalchemy import Engine, text

from analysis.intervals import ensure_intervals, jeffreys, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 10), (300, 688), (5697, 110_000), (0, 1), (1, 1)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    wanted = binomtest(k, n).proportion_ci(0.95, method="wilson")
    lo, hi = wilson(k, n)
    assert (float(lo), float(hi)) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


COLUMNS = ("n_detected", "n_injections", "ci95_lo", "ci95_hi")


def test_jeffreys_is_that_of_a_published_grid(shared_data: Path) -> None:
    """The column that the published table calls Wilson is Jeffreys in truth (see the data's own notes)."""
    with (shared_data / "published" / "d06" / "grid_no_poisson.csv").open() as file:
        rows = list(csv.DictReader(file))
    k, n, lo, hi = (np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS)
    use = (n > 0) & np.isfinite(lo) & (k > 0) & (k < n)
    assert use.sum() > 1000
    ours = jeffreys(k[use], n[use])
    np.testing.assert_allclose(ours[0], lo[use], atol=1e-12)
    np.testing.assert_allclose(ours[1], hi[use], atol=1e-12)


def test_the_ends_are_closed_when_nothing_or_everything_was_found() -> None:
    for interval in (wilson, jeffreys):
        assert interval(0, 20)[0] == 0
        assert interval(20, 20)[1] == 1


def test_each_pair_is_written_once(engine: Engine) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            ensure_intervals(connection, {(3, 10), (0, 4), (0, 0)})
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT k, n, method, lo, hi FROM evaluation.interval ORDER BY 1, 3")).all()
    assert [tuple(row)[:3] for row in rows] == [
        (0, 4, "jeffreys"), (0, 4, "wilson"), (3, 10, "jeffreys"), (3, 10, "wilson"),
    ]  # fmt: skip
    wanted = binomtest(3, 10).proportion_ci(0.95, method="wilson")
    assert (rows[3].lo, rows[3].hi) == pytest.approx((wanted.low, wanted.high))
