"""Which rows are one object, against a plain loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from etl.catalogs.merge import RADIUS_ARCSEC, assign

NONE = np.empty((0, 2))


def haversine_arcsec(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Separations of every a from every b (another formula than the code's)."""
    ra_a, dec_a = np.radians(a)[:, None, 0], np.radians(a)[:, None, 1]
    ra_b, dec_b = np.radians(b)[None, :, 0], np.radians(b)[None, :, 1]
    h = np.sin((dec_a - dec_b) / 2) ** 2 + np.cos(dec_a) * np.cos(dec_b) * np.sin((ra_a - ra_b) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(h))) * 3600


def assign_by_loops(known: np.ndarray, rows: np.ndarray) -> tuple[list[int], np.ndarray, np.ndarray]:
    founders: list[int] = []
    for i, row in enumerate(rows):
        lenses = np.concatenate([known, rows[founders]])
        if not len(lenses) or haversine_arcsec(row[None], lenses).min() > RADIUS_ARCSEC:
            founders.append(i)
    distance = haversine_arcsec(rows, np.concatenate([known, rows[founders]]))
    return founders, distance.argmin(axis=1), (distance <= RADIUS_ARCSEC).sum(axis=1) > 1


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.0, -30.0), (10.0, 90.0), (200.0, -90.0)])
def test_crowded_rows_are_assigned_as_a_plain_loop_assigns_them(ra: float, dec: float) -> None:
    rng = np.random.default_rng(7)
    spread = rng.normal(0, 12 / 3600, (150, 2))
    positions = np.column_stack([ra + spread[:, 0] / max(np.cos(np.radians(dec)), 1e-4), dec + spread[:, 1]])
    over = np.abs(positions[:, 1]) > 90
    positions[over, 1] = np.sign(dec) * 180 - positions[over, 1]
    positions[over, 0] += 180
    positions[:, 0] %= 360
    known, rows = positions[:1], positions[1:]
    founders, lens, ambiguous = assign_by_loops(known, rows)
    place = assign(known, rows)
    assert place.founders.tolist() == founders
    np.testing.assert_array_equal(place.lens, lens)
    np.testing.assert_array_equal(place.is_ambiguous, ambiguous)
    assert ambiguous.any()
    assert 1 < len(founders) < len(rows)


@pytest.mark.parametrize(("offset", "n_founders"), [(5.0, 1), (5.001, 2)])
@pytest.mark.parametrize("dec", [0.0, 60.0, -89.0])
def test_a_row_at_the_exact_radius_joins_and_one_beyond_it_founds(offset: float, n_founders: int, dec: float) -> None:
    rows = np.array([[30.0, dec], [30.0, dec + offset / 3600]])
    place = assign(NONE, rows)
    assert len(place.founders) == n_founders
    assert place.separation_arcsec[1] == pytest.approx(5.0 if n_founders == 1 else 0.0, abs=1e-6)


def test_rows_on_both_sides_of_ra_zero_are_one_object() -> None:
    place = assign(NONE, np.array([[359.9999, 10.0], [0.0001, 10.0]]))
    assert place.lens.tolist() == [0, 0]


def test_a_chain_does_not_grow_beyond_the_radius_of_its_founder() -> None:
    chain = np.column_stack([np.full(5, 30.0), np.arange(5) * 4 / 3600])
    place = assign(NONE, chain)
    assert place.founders.tolist() == [0, 2, 4]
    assert place.separation_arcsec.max() <= RADIUS_ARCSEC


def test_rows_at_one_position_are_one_object_founded_by_the_first() -> None:
    place = assign(NONE, np.tile([[200.0, -45.0]], (50, 1)))
    assert place.founders.tolist() == [0]
    assert not place.is_ambiguous.any()


def test_a_row_between_two_known_lenses_is_ambiguous_and_goes_to_the_nearer() -> None:
    known = np.array([[30.0, 0.0], [30.0, 6 / 3600]])
    place = assign(known, np.array([[30.0, 3.5 / 3600]]))
    assert place.founders.size == 0
    assert place.lens.tolist() == [1]
    assert place.separation_arcsec[0] == pytest.approx(2.5)
    assert place.is_ambiguous.tolist() == [True]


def test_no_rows_or_no_known_lenses_are_no_special_case() -> None:
    one = np.array([[1.0, 1.0]])
    assert assign(one, NONE).lens.size == 0
    assert assign(NONE, NONE).lens.size == 0
    assert assign(NONE, one).founders.tolist() == [0]
