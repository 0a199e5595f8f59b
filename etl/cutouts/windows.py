"""Square windows of an image, at whole pixels: from memory, or from a compressed file of which few tiles are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOWHERE = -(10**6)
"""Corner of the window of a position that has no place in the image's plane."""


@dataclass(frozen=True)
class Windows:
    """Windows of `side` pixels whose lowest pixel is (`x`, `y`), zero-based; shape (n,) each."""

    x: Ints
    y: Ints
    side: int

    def part(self, chosen: slice) -> Windows:
        """Some of them."""
        return Windows(self.x[chosen], self.y[chosen], self.side)

    def is_somewhere(self) -> npt.NDArray[np.bool_]:
        """Say which of them have a place in the image's plane."""
        return np.asarray((self.x > _NOWHERE) & (self.y > _NOWHERE))

    def leave(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Say which of them are not wholly inside an image of a shape (height, width)."""
        return np.asarray(
            (self.x < 0) | (self.y < 0) | (self.x + self.side > shape[1]) | (self.y + self.side > shape[0])
        )

    def n_tiles(self, shape: tuple[int, int], tile: tuple[int, int]) -> int:
        """Count the tiles (height, width) of an image that they touch, one after the other."""
        n = np.ones(len(self.x), np.int64)
        for corner, size, step in ((self.y, shape[0], tile[0]), (self.x, shape[1], tile[1])):
            first = np.clip(corner, 0, size - 1) // step
            last = np.clip(corner + self.side - 1, 0, size - 1) // step
            n *= last - first + 1
        return int(n.sum())


def windows_around(x: Floats, y: Floats, side: int) -> Windows:
    """Centre windows (of an odd side) on the pixels that hold zero-based positions; NaN is nowhere."""
    corners = (
        np.where(np.isfinite(values), np.floor(np.nan_to_num(values) + 0.5) - side // 2, _NOWHERE) for values in (x, y)
    )
    column, row = (np.clip(corner, _NOWHERE, -_NOWHERE).astype(np.int64) for corner in corners)
    return Windows(column, row, side)


def read_windows(image: Any, shape: tuple[int, int], windows: Windows) -> npt.NDArray[np.float32]:
    """Cut windows out of anything that is sliced like an array: an array, or an image of fitsio.

    Returns
    -------
    array
        (n, side, side) float32; NaN outside the image.
    """
    side = windows.side
    out = np.empty((len(windows.x), side, side), np.float32)
    out[windows.leave(shape)] = np.nan
    low_x, high_x = np.maximum(windows.x, 0), np.minimum(windows.x + side, shape[1])
    low_y, high_y = np.maximum(windows.y, 0), np.minimum(windows.y + side, shape[0])
    edges = np.stack([low_x, high_x, low_y, high_y, windows.x, windows.y], axis=1).tolist()
    for cut, (x0, x1, y0, y1, x, y) in zip(out, edges, strict=True):
        if x0 < x1 and y0 < y1:
            cut[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
    return out
