"""The arithmetic of preprocessing as torch does it, on any device: pixels and their statistics become images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.preprocess import Preprocessing

_GRAIN = 32_768
"""From so many numbers on torch shares an operation among threads, on a CPU. Images are made beside the network, which
needs those threads, and in pieces below this size they are made by one, and in its cache."""


def scaled(pixels: Tensor, statistics: tuple[Tensor, Tensor], rules: Preprocessing) -> Tensor:
    """Scale every band to (x - median) / MAD, clipped or asinh; pixels without data become 0.

    Parameters
    ----------
    pixels
        Packed pixels, shape (n, crop_px, crop_px, 3).
    statistics
        Median and MAD, each of shape (n, 3), on the same device.

    Returns
    -------
    tensor
        Shape (n, 3, crop_px, crop_px), float32, bands last in memory.
    """
    n, height, width, _ = pixels.shape
    images = torch.empty((n, height, width, 3), dtype=torch.float32, device=pixels.device)
    # A whole row of the image is one line of numbers; its statistics are repeated along it.
    median, mad = (each.repeat(1, width)[:, None, :] for each in statistics)
    lines = images.view(n, height, width * 3)
    step = max(1, _GRAIN // (height * width * 3 + 1)) if pixels.device.type == "cpu" else max(1, n)
    for first in range(0, n, step):
        piece = slice(first, first + step)
        values = lines[piece].copy_(pixels[piece].reshape(-1, height, width * 3))
        # Infinite pixels are no data either; they still are infinite here, or NaN.
        values.sub_(median[piece]).div_(mad[piece]).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        if rules.scaling == "asinh":
            values.asinh_()
        else:
            values.clamp_(-rules.clip_mads, rules.clip_mads)
    return images.permute(0, 3, 1, 2)


def statistics_on_device(pixels: Tensor, rules: Preprocessing) -> tuple[Tensor, Tensor]:
    """`training.preprocess.statistics` on the device of the pixels, number for number."""
    annulus = torch.from_numpy(np.flatnonzero(rules.annulus())).to(pixels.device)
    ring = pixels.reshape(len(pixels), -1, 3).index_select(1, annulus).transpose(1, 2).float()
    ring = ring.nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan)
    median = _median_of_known(ring)
    mad = _median_of_known((ring - median[..., None]).abs())
    return median, torch.where(mad > 0, mad, torch.inf)


def tensor_of(array: npt.NDArray[np.floating]) -> Tensor:
    """Tensor of an array, without a copy where torch can do without: it takes no memory that must not be written."""
    return torch.from_numpy(np.require(array, requirements="W"))


def _median_of_known(values: Tensor) -> Tensor:
    ordered = values.sort(dim=-1).values  # NaN sort to the end
    n_known = values.isnan().logical_not_().sum(dim=-1, keepdim=True)
    low = ordered.gather(-1, (n_known - 1).clamp_(min=0).div_(2, rounding_mode="floor"))
    high = ordered.gather(-1, n_known.div(2, rounding_mode="floor"))
    return (low + high).squeeze(-1) * 0.5
