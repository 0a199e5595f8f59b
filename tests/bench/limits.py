"""What was measured, against the limit that the issue sets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["PASS", "FAIL", ""]


@dataclass(frozen=True)
class Measure:
    """One number of the table; `samples` are what it is the median of, in the same unit."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    samples: tuple[float, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether it keeps its limit; empty where it has none."""
        if self.at_least is None and self.at_most is None:
            return ""
        low = self.at_least is not None and not self.value >= self.at_least
        high = self.at_most is not None and not self.value <= self.at_most
        return "FAIL" if low or high else "PASS"

    @property
    def limit(self) -> str:
        """The limit in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    def as_dict(self) -> dict[str, Any]:
        """Fields and verdict, for JSON."""
        return asdict(self) | {"verdict": self.verdict}


def median(name: str, samples: Sequence[float], unit: str, **limits: float) -> Measure:
    """Make a measure of several samples."""
    return Measure(name, statistics.median(samples), unit, samples=tuple(samples), **limits)


def ratio(name: str, ours: Measure, peer: Measure, at_least: float) -> Measure:
    """Compare two measures of one unit by their medians."""
    return Measure(name, ours.value / peer.value, "x", at_least=at_least)
