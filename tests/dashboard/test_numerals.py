from __future__ import annotations

import pytest

from dashboard import numerals


@pytest.mark.parametrize(("fpr", "written"), [(1e-2, "1e-2"), (1e-3, "1e-3"), (1e-4, "1e-4"), (2.5e-3, "2.5e-3")])
def test_a_target_rate_is_written_with_its_exponent(fpr: float, written: str) -> None:
    assert numerals.target(fpr) == written


def test_what_is_not_known_is_a_dash() -> None:
    written = [numerals.count(None), numerals.fraction(None), numerals.small(None), numerals.of(None, 4)]
    assert set(written) == {numerals.NONE}


def test_a_rate_stands_with_its_interval() -> None:
    assert numerals.fraction(0.8421, 0.79, 0.8844) == "0.842 [0.790, 0.884]"
    assert numerals.fraction(0.8421) == "0.842"
    assert numerals.small(0.0102, 0.0061, 0.017) == "0.0102 [0.0061, 0.0170]"
    assert numerals.of(12, 1234) == "12 / 1,234"


@pytest.mark.parametrize(
    ("ra", "dec", "written"),
    [(149.45631, 2.1, "149.4563 +02.1000"), (0.5, -0.25, "0.5000 -00.2500"), (359.9, -12.0, "359.9000 -12.0000")],
)
def test_a_position_has_a_signed_declination_of_two_digits(ra: float, dec: float, written: str) -> None:
    assert numerals.position(ra, dec) == written
