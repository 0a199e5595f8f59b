"""The outermost pixels of a cutout, where no lens is: what a classifier of the border alone sees."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import BANDS, N_PIXELS
from etl.cutouts.metrics import BORDER_PX, percentile_of_known

Planes = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
_PERCENTILES = (5, 25, 50, 75, 95)


def border_statistics(planes: Planes) -> dict[str, Values]:
    """Describe the outermost pixels of each band: percentiles, spread and the mean of each side.

    Takes (n, 3, 101, 101), bands g, r, z; returns (n,) values by name, as in the columns ``border_*`` of
    `imaging.cutout_metric`. Pixels without data are left out; NaN where a border, or one side of it, has none.
    """
    places = _places()
    border = np.take(planes.reshape(*planes.shape[:2], -1), np.concatenate(list(places.values())), axis=2)
    is_valid = np.isfinite(border)
    n_valid = is_valid.sum(axis=2)
    kept = border if is_valid.all() else np.where(is_valid, border, np.float32(0))
    ordered = np.sort(border if is_valid.all() else np.where(is_valid, border, np.float32(np.inf)), axis=2)
    mean = _mean(kept, n_valid)
    offset = np.where(is_valid, kept - mean[..., None], 0)
    np.multiply(offset, offset, out=offset)
    made = {f"p{percent}": percentile_of_known(ordered, n_valid, percent) for percent in _PERCENTILES}
    made["std"] = np.sqrt(_mean(offset, n_valid))
    first = 0
    for side, pixels in places.items():
        part = slice(first, first + len(pixels))
        made[side] = _mean(kept[..., part], is_valid[..., part].sum(axis=2))
        first += len(pixels)
    return {f"border_{name}_{band}": values[:, i] for i, band in enumerate(BANDS) for name, values in made.items()}


@cache
def _places() -> dict[str, npt.NDArray[np.int64]]:
    """Positions of the pixels of each side in a flattened image; rows go north, columns west, as in brick coadds."""
    y, x = (grid.ravel() for grid in np.mgrid[:N_PIXELS, :N_PIXELS])
    last = N_PIXELS - BORDER_PX
    inside = (y >= BORDER_PX) & (y < last)
    sides = {
        "south": y < BORDER_PX,
        "north": y >= last,
        "west": inside & (x >= last),
        "east": inside & (x < BORDER_PX),
    }
    return {name: np.flatnonzero(mask) for name, mask in sides.items()}


def _mean(values: npt.NDArray[np.floating], n_valid: npt.NDArray[np.int64]) -> Values:
    return np.where(n_valid > 0, values.sum(axis=2, dtype=np.float64) / np.maximum(n_valid, 1), np.nan)
