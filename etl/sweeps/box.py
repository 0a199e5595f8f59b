"""The patch of sky that a sweep's file name declares: ``sweep-355m005-360p000`` is RA 355 to 360, Dec -5 to 0."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE_DEG = 0.01
"""Rows may lie this far outside: far below a sweep's size, far above rounding."""

_NAME = re.compile(r"sweep-(\d{3})([mp])(\d{3})-(\d{3})([mp])(\d{3})(?!\d)")


@dataclass(frozen=True)
class SkyBox:
    """A range of RA and Dec, degrees; `ra_max` may be 360 or lie past it by wrapping."""

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    def contains(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which positions lie within, give or take the tolerance; NaN does not."""
        width = (self.ra_max - self.ra_min) % 360 or 360.0
        with np.errstate(invalid="ignore"):  # an infinite position has no remainder: NaN, which is outside
            offset = (ra - self.ra_min + TOLERANCE_DEG) % 360
        inside: NDArray[np.bool_] = (
            (offset <= width + 2 * TOLERANCE_DEG)
            & (dec >= self.dec_min - TOLERANCE_DEG)
            & (dec <= self.dec_max + TOLERANCE_DEG)
        )
        return inside


def box_of_name(name: str) -> SkyBox | None:
    """Return the box that a file name declares; None when it declares none."""
    match = _NAME.match(name)
    if match is None:
        return None
    ra_min, sign_min, dec_min, ra_max, sign_max, dec_max = match.groups()
    signs = {"m": -1, "p": 1}
    return SkyBox(float(ra_min), float(ra_max), signs[sign_min] * float(dec_min), signs[sign_max] * float(dec_max))
