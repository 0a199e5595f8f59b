"""The gnomonic (TAN) projection of a brick: pixels to sky and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PIXEL_ARCSEC = 0.262
"""Side of a coadd pixel, arcsec."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tangent:
    """North-up, east-left TAN projection of a square image of ``n_pixels`` about its centre (degrees)."""

    ra: float
    dec: float
    n_pixels: int

    def to_pixels(self, ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Zero-based pixel coordinates of ICRS positions in degrees (Calabretta & Greisen 2002, section 5.1.3).

        Positions 90 degrees or farther from the centre have no projection and become NaN.
        """
        delta, dec1, dec0 = np.radians(np.asarray(ra) - self.ra), np.radians(dec), np.radians(self.dec)
        cosine = np.sin(dec0) * np.sin(dec1) + np.cos(dec0) * np.cos(dec1) * np.cos(delta)
        cosine = np.where(cosine > 1e-9, cosine, np.nan)
        east = np.cos(dec1) * np.sin(delta) / cosine
        north = (np.cos(dec0) * np.sin(dec1) - np.sin(dec0) * np.cos(dec1) * np.cos(delta)) / cosine
        middle, step = (self.n_pixels - 1) / 2, np.radians(PIXEL_ARCSEC / 3600)
        return middle - east / step, middle + north / step

    def to_sky(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """ICRS positions in degrees, ra in [0, 360), of zero-based pixel coordinates."""
        middle, step = (self.n_pixels - 1) / 2, np.radians(PIXEL_ARCSEC / 3600)
        east, north = (middle - np.asarray(x, float)) * step, (np.asarray(y, float) - middle) * step
        dec0 = np.radians(self.dec)
        along = np.cos(dec0) - north * np.sin(dec0)
        ra = self.ra + np.degrees(np.arctan2(east, along))
        dec = np.degrees(np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, along)))
        return ra % 360.0, dec
