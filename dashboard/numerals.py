"""How numbers are written on the pages; what is not known is a dash."""

from __future__ import annotations

NONE = "\N{EN DASH}"


def count(value: int | None) -> str:
    """A count with thin groups of three."""
    return NONE if value is None else f"{value:,}"


def fraction(value: float | None, lo: float | None = None, hi: float | None = None) -> str:
    """A number in [0, 1] and its interval: ``0.842 [0.790, 0.884]``."""
    if value is None:
        return NONE
    return f"{value:.3f}" if lo is None or hi is None else f"{value:.3f} {interval(lo, hi)}"


def interval(lo: float | None, hi: float | None, digits: int = 3) -> str:
    """An interval: ``[0.790, 0.884]``."""
    return "" if lo is None or hi is None else f"[{lo:.{digits}f}, {hi:.{digits}f}]"


def small(value: float | None, lo: float | None = None, hi: float | None = None) -> str:
    """A rate that may be small, and its interval: ``0.0102 [0.0061, 0.0170]``."""
    return NONE if value is None else f"{value:.4f} {interval(lo, hi, 4)}".rstrip()


def of(k: int | None, n: int | None) -> str:
    """A share in counts: ``45 / 101``."""
    return NONE if k is None or n is None else f"{k:,} / {n:,}"


def target(fpr: float) -> str:
    """A target rate: ``1e-3``."""
    mantissa, exponent = f"{fpr:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def position(ra: float, dec: float) -> str:
    """A position in degrees: ``149.4563 +02.1122``."""
    return f"{ra:.4f} {dec:+08.4f}"
