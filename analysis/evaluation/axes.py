"""The conditions that recall is compared across, and the fixed edges of their bins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from analysis.scores import ScoredObjects

POOLED = "all"
UNKNOWN = "unknown"
UNGRADED = "ungraded"


@dataclass(frozen=True)
class Bin:
    """One bin of an axis, `lo` <= value < `hi`; None on an open side, both None of a word."""

    label: str
    lo: float | None = None
    hi: float | None = None


EDGES: dict[str, tuple[float, ...]] = {
    "nobs_z": (1, 3, 6, 11),
    "psf_fwhm_z_arcsec": (0.9, 1.0, 1.1, 1.2, 1.4),
    "galdepth_z_ab": (22.0, 22.5, 23.0, 23.5),
    "ebv_mag": (0.02, 0.05, 0.1, 0.2),
    "dec": (-60, -40, -20, 0, 20),
    "mag_r_ab": (17, 18, 19, 20, 21),
}
"""Edges by axis: exposures (those of the strata), arcsec, AB mag (5 sigma), mag, degrees, AB mag (not dereddened).

What lies outside the outermost edges has bins of its own. They are fixed so that models can be compared.
"""

WORDS: dict[str, tuple[str, ...]] = {
    "type": ("SER", "DEV", "REX", "EXP", "PSF"),
    "grade": ("A", "B", "C", UNGRADED),
}
"""Words by axis: the Tractor type, and the best letter that any paper gave."""

OF_POSITIVES = frozenset({"grade"})
"""Axes that say nothing of a negative."""


def bins_of(axis: str) -> tuple[Bin, ...]:
    """Return the bins of an axis, in their order; the last one of a measured axis is for values that are not known."""
    if axis in WORDS:
        words = WORDS[axis] if axis == "grade" else (*WORDS[axis], UNKNOWN)
        return tuple(Bin(word) for word in words)
    edges = EDGES[axis]
    inner = [Bin(f"{lo:g} to {hi:g}", lo, hi) for lo, hi in pairwise(edges)]
    return (Bin(f"< {edges[0]:g}", None, edges[0]), *inner, Bin(f">= {edges[-1]:g}", edges[-1], None), Bin(UNKNOWN))


def bin_numbers(objects: ScoredObjects, axis: str) -> NDArray[np.int64]:
    """Return which of `bins_of` each object falls into, shape (n,)."""
    if axis in WORDS:
        found: NDArray[np.str_] = objects.best_letter_grade if axis == "grade" else getattr(objects, axis)
        words = WORDS[axis]
        number = np.full(len(objects), len(words) - (axis == "grade"), dtype=np.int64)
        for place, word in enumerate(words):
            number[found == word] = place
        return number
    values: NDArray[np.float64] = getattr(objects, axis)
    number = np.searchsorted(EDGES[axis], values, side="right").astype(np.int64)
    return np.where(np.isnan(values), len(EDGES[axis]) + 1, number)
