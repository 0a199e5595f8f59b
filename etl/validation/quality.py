"""Whether the pixels of a cutout are those of a sky: what makes them unfit, for a whole stack at once."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from etl.cutouts.brick import CENTRE_PX, MAX_NAN_FRACTION
from etl.cutouts.files import BANDS, N_PIXELS
from etl.validation.reading import Fault

Planes = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

PLATEAU_PIXELS = 9
"""As many pixels of a core at exactly its maximum are a plateau: light with noise never repeats a value so often."""

MAX_CORE_PIXEL = 200.0
"""Brightest core pixel that can be light, nanomaggies: DECam's wells (about 180,000 e-) fill up at about 100 in the
shortest exposures of the survey (40 s, 44 e-/s per nanomaggy in g), so twice that is no measurement."""


def pixel_problems(planes: Planes) -> list[Fault | None]:
    """Name the first fault of each cutout, or None.

    Parameters
    ----------
    planes
        (n, 3, 101, 101) nanomaggies, bands g, r, z; NaN where there is no data.

    Notes
    -----
    Brick coadds carry no pixels that were saturated in every exposure (they have no inverse variance and are NaN here),
    so `saturated` finds what was clipped on its way: images that went through a display scale or a fixed range.
    """
    flat = planes.reshape(len(planes), len(BANDS), -1)
    low, high, fraction = flat.min(axis=2), flat.max(axis=2), np.zeros(flat.shape[:2])
    if np.isnan(low).any():
        fraction = np.isnan(flat).mean(axis=2)
        low, high = np.fmin.reduce(flat, axis=2), np.fmax.reduce(flat, axis=2)
    core = flat[:, :, _within(CENTRE_PX)]
    centre: Bools = np.asarray(np.isnan(core).any(axis=2))
    peak = np.fmax.reduce(core, axis=2)
    n_at_peak = (core == peak[..., None]).sum(axis=2)
    found: list[tuple[str, Bools, npt.NDArray[np.generic], str]] = [
        ("infinite", np.isinf(low) | np.isinf(high), high, "infinite pixels in {band}"),
        ("no_data", fraction == 1, fraction, "no data in {band}"),
        (
            "too_many_nan",
            fraction > MAX_NAN_FRACTION,
            fraction,
            f"{{value:.1%}} of {{band}} lacks data (limit {MAX_NAN_FRACTION:.0%})",
        ),
        ("centre_nan", centre, centre, f"pixels within {CENTRE_PX} px of the centre lack data in {{band}}"),
        ("all_zero", (low == 0) & (high == 0), low, "{band} is zero everywhere"),
        ("constant", low == high, low, "{band} has the value {value:g} everywhere"),
        (
            "saturated",
            n_at_peak >= PLATEAU_PIXELS,
            n_at_peak,
            "{value} pixels of the core share exactly the maximum in {band}: it was clipped",
        ),
        (
            "saturated",
            peak > MAX_CORE_PIXEL,
            peak,
            f"the core reaches {{value:.4g}} nanomaggies a pixel in {{band}} (limit {MAX_CORE_PIXEL:g})",
        ),
    ]
    problems: list[Fault | None] = [None] * len(planes)
    for reason, is_bad, values, words in found:
        for image in np.flatnonzero(is_bad.any(axis=1)):
            if problems[image] is None:
                band = int(is_bad[image].argmax())
                problems[image] = Fault(reason, words.format(band=BANDS[band], value=values[image, band]))
    return problems


@cache
def _within(radius_px: int) -> npt.NDArray[np.int64]:
    """Positions of the pixels within a radius of the centre, in a flattened image."""
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - N_PIXELS // 2
    return np.flatnonzero(np.hypot(x, y) <= radius_px)
