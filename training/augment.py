"""Random views of a training batch that leave its label alone."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from training.config import AugmentConfig

_SLAB = 16
"""Images that are varied together on a CPU: what is worked on stays in its cache. A GPU takes the whole batch."""


def augment(images: Tensor, generator: torch.Generator, rules: AugmentConfig) -> Tensor:
    """Rotate, mirror and shift each image at random, then add noise; each where the rules want it.

    What comes into the picture from beyond its border is the mirror image of what lies inside, for both classes alike:
    there is no frame of zeros from which a network could read how an image was turned.

    Parameters
    ----------
    images
        Preprocessed batch, shape (n, bands, h, h), in units of each image's own MAD.
    generator
        Source of chance, on the device of the images; the same state gives the same views.
    rules
        ``noise_mads`` is the standard deviation of the Gaussian noise in the same units, so it follows the noise that
        the image has already.

    Returns
    -------
    tensor
        A new one of the shape, type and device of the images, bands last in memory.
    """
    varied = torch.empty_like(images, memory_format=torch.channels_last)
    step = _SLAB if images.device.type == "cpu" else max(1, len(images))
    for first in range(0, len(images), step):
        slab = slice(first, first + step)
        varied[slab] = _view(images[slab].contiguous(), generator, rules)
    return varied


def _view(images: Tensor, generator: torch.Generator, rules: AugmentConfig) -> Tensor:
    if rules.rotate:
        turns = torch.rand(len(images), generator=generator, device=images.device)
        images = rotated(images, 2 * math.pi * turns)
    if rules.symmetries or rules.shift_px:
        images = _rearranged(images, generator, rules)
    if rules.noise_mads > 0:
        noise = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=images.device)
        images = torch.add(images, noise, alpha=rules.noise_mads)
    return images


def apply_symmetry(images: Tensor, number: int) -> Tensor:
    """One of the eight symmetries of the square: ``number % 4`` right-angle turns, mirrored from 4 on."""
    mirrored = images.flip(-1) if number >= 4 else images
    return torch.rot90(mirrored, number % 4, dims=(-2, -1))


def rotated(images: Tensor, angles: Tensor) -> Tensor:
    """Rotate each image by its own angle about the object's pixel, ``h // 2``; bicubic, mirrored at the border.

    Parameters
    ----------
    images
        Shape (n, bands, h, h).
    angles
        In radians, shape (n,).
    """
    size = images.shape[-1]
    offset = torch.arange(size, device=images.device, dtype=torch.float32) - size // 2
    x, y = offset[None, None, :], offset[None, :, None]
    cos, sin = torch.cos(angles.float())[:, None, None], torch.sin(angles.float())[:, None, None]
    places = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1) + size // 2
    grid = (2 * places + 1) / size - 1  # the outer edges of the image are at -1 and 1
    turned = grid_sample(images.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return turned.to(images.dtype)


def _rearranged(images: Tensor, generator: torch.Generator, rules: AugmentConfig) -> Tensor:
    """Move whole pixels: a symmetry and a shift of each image, in one gathering."""
    n, n_bands, size, _ = images.shape
    device = images.device
    source = torch.arange(size * size, device=device).expand(n, -1)
    if rules.symmetries:
        source = _eight_symmetries(size, device)[torch.randint(8, (n,), generator=generator, device=device)]
    if rules.shift_px:
        most = min(rules.shift_px, size)
        shift = torch.randint(-most, most + 1, (n, 2, 1), generator=generator, device=device)
        y, x = _reflected(torch.arange(size, device=device) - shift, size).unbind(1)
        source = source.gather(1, (y[:, :, None] * size + x[:, None, :]).flatten(1))
    moved = images.flatten(2).gather(2, source[:, None].expand(-1, n_bands, -1))
    return moved.reshape(images.shape)


@functools.cache
def _eight_symmetries(size: int, device: torch.device) -> Tensor:
    """For each symmetry, and each place of the turned image, the place that its pixel comes from; (8, size * size)."""
    place = torch.arange(size * size, device=device).reshape(size, size)
    return torch.stack([apply_symmetry(place, number).flatten() for number in range(8)])


def _reflected(places: Tensor, size: int) -> Tensor:
    """Coordinates up to `size` beyond the border, brought back inside as in a mirror along the outer edge."""
    inside = torch.where(places < 0, -1 - places, places)
    return torch.where(inside >= size, 2 * size - 1 - inside, inside)
