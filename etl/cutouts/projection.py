"""The tangent-plane projection of a brick's images: sky to pixels and back, for many positions at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_KINDS = ("CTYPE1", "CTYPE2")
_TAN = ("RA---TAN", "DEC--TAN")
_NUMBERS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
PROJECTION_CARDS = (*_KINDS, *_NUMBERS)
"""Cards of a header that `projection_of` reads."""


@dataclass(frozen=True)
class Projection:
    """A TAN projection; the pixel that `centre_px` names (zero-based) lies at `centre_deg` (ICRS degrees)."""

    centre_deg: tuple[float, float]
    centre_px: tuple[float, float]
    cd: tuple[tuple[float, float], tuple[float, float]]

    def to_pixels(self, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
        """Return zero-based x and y of positions in degrees; NaN 90 degrees or farther from the centre.

        Calabretta & Greisen 2002 (A&A 395, 1077), section 5.1.3.
        """
        delta, dec1, dec0 = np.radians(ra - self.centre_deg[0]), np.radians(dec), np.radians(self.centre_deg[1])
        cosine = np.sin(dec0) * np.sin(dec1) + np.cos(dec0) * np.cos(dec1) * np.cos(delta)
        cosine = np.where(cosine > 0, cosine, np.nan)
        east = np.degrees(np.cos(dec1) * np.sin(delta) / cosine)
        north = np.degrees((np.cos(dec0) * np.sin(dec1) - np.sin(dec0) * np.cos(dec1) * np.cos(delta)) / cosine)
        (xx, xy), (yx, yy) = self.cd
        scale = 1 / (xx * yy - xy * yx)
        x, y = (yy * east - xy * north) * scale, (xx * north - yx * east) * scale
        return x + self.centre_px[0], y + self.centre_px[1]

    def to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return ra in [0, 360) and dec, degrees, of zero-based pixel positions: the inverse."""
        u, v = x - self.centre_px[0], y - self.centre_px[1]
        (xx, xy), (yx, yy) = self.cd
        east, north = np.radians(xx * u + xy * v), np.radians(yx * u + yy * v)
        dec0 = np.radians(self.centre_deg[1])
        along = np.cos(dec0) - north * np.sin(dec0)
        ra = self.centre_deg[0] + np.degrees(np.arctan2(east, along))
        dec = np.degrees(np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, along)))
        return ra % 360.0, dec


def projection_of(header: Mapping[str, Any]) -> Projection:
    """Read the projection of a FITS header.

    Raises
    ------
    ValueError
        When it is no tangent plane, or not all of it is there; with the reason.
    """
    kind = tuple(str(header.get(name, "none")).strip() for name in _KINDS)
    if kind != _TAN:
        raise ValueError(f"CTYPE is {', '.join(kind)}, expected {', '.join(_TAN)}")
    absent = [name for name in _NUMBERS if header.get(name) is None]
    if absent:
        raise ValueError(f"it lacks {', '.join(absent)}")
    ra, dec, x, y, xx, xy, yx, yy = (float(header[name]) for name in _NUMBERS)
    if xx * yy == xy * yx:
        raise ValueError("its CD matrix has no inverse")
    return Projection((ra, dec), (x - 1, y - 1), ((xx, xy), (yx, yy)))
