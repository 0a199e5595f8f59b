from __future__ import annotations

import torch

from training.augment import apply_symmetry, augment
from training.config import AugmentConfig

STILL = AugmentConfig(noise_mads=0)


def chance(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_symmetries_keep_the_set_of_pixels_of_every_image_and_band() -> None:
    images = torch.randn(40, 3, 9, 9)
    varied = augment(images, chance(), STILL)
    assert not torch.equal(varied, images)
    assert torch.equal(varied.flatten(2).sort().values, images.flatten(2).sort().values)


def test_all_eight_symmetries_are_different_and_all_are_used() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    eight = {tuple(apply_symmetry(image, number).flatten().tolist()) for number in range(8)}
    assert len(eight) == 8
    varied = augment(image.repeat(200, 1, 1, 1), chance(), STILL)
    assert {tuple(one.flatten().tolist()) for one in varied} == eight


def test_bands_of_one_image_are_turned_together() -> None:
    images = torch.randn(30, 1, 8, 8).repeat(1, 3, 1, 1)
    varied = augment(images, chance(), STILL)
    assert torch.equal(varied[:, 0], varied[:, 2])


def test_noise_has_the_stated_level() -> None:
    images = torch.zeros(20, 3, 32, 32)
    varied = augment(images, chance(), AugmentConfig(symmetries=False, noise_mads=0.25))
    assert abs(varied.std().item() - 0.25) < 0.005
    assert images.abs().max() == 0


def test_the_seed_decides() -> None:
    images = torch.randn(16, 3, 8, 8)
    rules = AugmentConfig()
    assert torch.equal(augment(images, chance(3), rules), augment(images, chance(3), rules))
    assert not torch.equal(augment(images, chance(3), rules), augment(images, chance(4), rules))
