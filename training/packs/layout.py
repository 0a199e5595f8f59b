"""How pixels lie in the shards of a pack: numpy's own files, version 1.0, little-endian, rows one after the other."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.preprocess import PixelType, central, rounded

FORMAT = "npy"
AXIS_ORDER = "cutout,y,x,band"
BANDS = "grz"
INDEX_NAME = "index.parquet"

Packed = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Layout:
    """What a pack's shards hold; all but the last hold `shard_rows` cutouts."""

    crop_px: int
    dtype: PixelType
    n_cutouts: int
    shard_rows: int

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_cutouts // self.shard_rows)

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """Shape of one cutout."""
        return (self.crop_px, self.crop_px, len(BANDS))

    @property
    def pixel_type(self) -> np.dtype[np.floating]:
        """Type of a pixel, little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    def rows(self, shard: int) -> slice:
        """Rows of the manifest that a shard holds."""
        first = shard * self.shard_rows
        return slice(first, min(first + self.shard_rows, self.n_cutouts))

    def header(self, shard: int) -> bytes:
        """Return what stands before the pixels of a shard."""
        rows = self.rows(shard)
        out = io.BytesIO()
        body = {
            "descr": self.pixel_type.str,
            "fortran_order": False,
            "shape": (rows.stop - rows.start, *self.row_shape),
        }
        np.lib.format.write_array_header_1_0(out, body)
        return out.getvalue()

    @property
    def header_bytes(self) -> int:
        """Size of what stands before the pixels, in every shard (numpy fills it up)."""
        return len(self.header(0))

    def n_bytes(self, shard: int) -> int:
        """Size of a shard's file."""
        rows = self.rows(shard)
        n_rows: int = rows.stop - rows.start
        return self.header_bytes + n_rows * row_bytes(self.crop_px, self.dtype)

    def packed(self, pixels: npt.NDArray[np.float32]) -> Packed:
        """Crop and round cutouts as this pack holds them."""
        return rounded(central(pixels, self.crop_px), self.dtype)


def row_bytes(crop_px: int, dtype: PixelType) -> int:
    """Size of one cutout."""
    return crop_px * crop_px * len(BANDS) * {"float16": 2, "float32": 4}[dtype]


def shard_name(shard: int) -> str:
    """Name of a shard's file within its pack."""
    return f"{shard:05d}.npy"
