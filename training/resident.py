"""A pack held whole on the device that trains: its rounded pixels and their statistics, scaled batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.packs.layout import row_bytes
from training.packs.read import Pack
from training.preprocess import Preprocessing, central
from training.progress import Progress, silent
from training.scaling import scaled, statistics_on_device

SHARE = 0.8
"""Of a device's free memory, what images may take; the network and its gradients get the rest."""
_CHUNK = 4096
_STATISTICS_BYTES = 24


@dataclass(frozen=True)
class ResidentImages:
    """Rows of a pack on a device: pixels (n, h, h, 3) as packed, median and MAD (n, 3) of every one."""

    pixels: Tensor
    median: Tensor
    mad: Tensor
    rules: Preprocessing

    @classmethod
    def load(
        cls,
        pack: Pack,
        rows: npt.NDArray[np.int64],
        rules: Preprocessing,
        device: torch.device,
        progress: Progress = silent,
    ) -> ResidentImages:
        """Read rows of a pack to a device; statistics are computed there."""
        size, n = rules.crop_px, len(rows)
        kind = {"float16": torch.float16, "float32": torch.float32}[rules.pixel_dtype]
        pixels = torch.empty((n, size, size, 3), dtype=kind, device=device)
        median, mad = (torch.empty((n, 3), dtype=torch.float32, device=device) for _ in range(2))
        for first in range(0, n, _CHUNK):
            chunk = slice(first, first + _CHUNK)
            pixels[chunk] = torch.from_numpy(central(pack.take(rows[chunk]), size)).to(device)
            median[chunk], mad[chunk] = statistics_on_device(pixels[chunk], rules)
            progress("reading the pack to the device", min(first + _CHUNK, n), n)
        return cls(pixels, median, mad, rules)

    @property
    def device(self) -> torch.device:
        """Where the pixels lie."""
        return self.pixels.device

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        if isinstance(rows, Tensor):
            rows = rows.to(self.device)
        return scaled(self.pixels[rows], (self.median[rows], self.mad[rows]), self.rules)


def resident_bytes(n_images: int, rules: Preprocessing) -> int:
    """Memory that so many images take: 25 kB each at 64 px in float16."""
    return n_images * (row_bytes(rules.crop_px, rules.pixel_dtype) + _STATISTICS_BYTES)


def fits(n_bytes: int, device: torch.device) -> bool:
    """Whether images of a size may be held on a device: a GPU, with room to spare."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= SHARE * free
