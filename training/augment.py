"""Random views of a training batch that leave its label alone."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import AugmentConfig


def augment(images: Tensor, generator: torch.Generator, rules: AugmentConfig) -> Tensor:
    """Turn and mirror each image at random, then add noise; each where the rules want it.

    Parameters
    ----------
    images
        Preprocessed batch, shape (n, bands, h, h), in units of each image's own MAD.
    generator
        Source of chance, on the CPU.
    rules
        ``noise_mads`` is the standard deviation of the Gaussian noise in the same units, so it follows the noise that
        the image has already.
    """
    varied = images.clone()
    if rules.symmetries:
        symmetry = torch.randint(8, (len(images),), generator=generator)
        for number in range(1, 8):
            chosen = (symmetry == number).nonzero().squeeze(1).to(images.device)
            varied[chosen] = apply_symmetry(images[chosen], number)
    if rules.noise_mads > 0:
        noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
        varied += rules.noise_mads * noise.to(images.device)
    return varied


def apply_symmetry(images: Tensor, number: int) -> Tensor:
    """One of the eight symmetries of the square: ``number % 4`` right-angle turns, mirrored from 4 on."""
    mirrored = images.flip(-1) if number >= 4 else images
    return torch.rot90(mirrored, number % 4, dims=(-2, -1))
