"""Where in a patch its galaxies lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from etl.mock.tangent import PIXEL_ARCSEC

Floats = npt.NDArray[np.float64]

CLEARANCE_PIXELS = 15.2 / PIXEL_ARCSEC
"""Between the centres of bright galaxies, and from every candidate: the same for lenses and for others."""

_WHOLE_CUTOUT, _RIM = 51, 33
_DARTS = 3000


def place_pool(n: int, n_pixels: int, taken: Floats, rng: np.random.Generator) -> Floats:
    """Pixel positions (k, 2), k <= n, of pool galaxies, clear of the positions ``taken`` (m, 2) and of one another.

    Darts are thrown first where a 101-pixel cutout is whole, then nearer the rim.
    """
    placed = np.empty((0, 2))
    for margin in (_WHOLE_CUTOUT, _RIM):
        darts = rng.uniform(margin, n_pixels - 1 - margin, (_DARTS, 2))
        darts = darts[_clear_of(darts, np.concatenate([taken, placed]), CLEARANCE_PIXELS)]
        while len(placed) < n and len(darts):
            placed = np.concatenate([placed, darts[:1]])
            darts = darts[_clear_of(darts, darts[:1], CLEARANCE_PIXELS)]
    return placed


def scatter(n: int, n_pixels: int, bright: Floats, clearance_arcsec: float, rng: np.random.Generator) -> Floats:
    """Pixel positions (k, 2), k <= n, of faint sources anywhere, none on top of a bright one."""
    anywhere = rng.uniform(-0.5, n_pixels - 0.5, (n, 2))
    return anywhere[_clear_of(anywhere, bright, clearance_arcsec / PIXEL_ARCSEC)]


def beside(positions: Floats, rng: np.random.Generator) -> Floats:
    """One position 1.4 to 4 arcsec from each of the given ones, at random angles."""
    radius = rng.uniform(1.4, 4.0, len(positions)) / PIXEL_ARCSEC
    angle = 2 * np.pi * rng.random(len(positions))
    return positions + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _clear_of(points: Floats, others: Floats, distance: float) -> npt.NDArray[np.bool_]:
    gaps = np.hypot(*np.moveaxis(points[:, None, :] - others[None, :, :], -1, 0))
    return np.asarray((gaps >= distance).all(axis=1))
