from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.augment import apply_symmetry, augment, rotated
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


def round_source(n: int = 1, size: int = 64, width_px: float = 3.0) -> torch.Tensor:
    offset = torch.arange(size) - size // 2
    radius = torch.hypot(offset[:, None].float(), offset[None, :].float())
    return torch.exp(-0.5 * (radius / width_px) ** 2).expand(n, 3, size, size).contiguous()


def test_a_round_source_looks_the_same_from_every_angle() -> None:
    source = round_source(64)
    angles = torch.linspace(0, 6.28, 64)
    turned = rotated(source, angles)
    assert (turned.sum(dim=(-2, -1)) / source.sum(dim=(-2, -1)) - 1).abs().max() < 2e-3
    assert (turned - source).abs().max() < 0.02
    assert (turned[:, :, 32, 32] - 1).abs().max() < 1e-5  # the object's pixel stays where it is


def test_a_right_angle_is_turned_exactly_about_the_objects_pixel() -> None:
    image = torch.randn(1, 3, 33, 33)
    turned = rotated(image, torch.tensor([torch.pi / 2]))
    either = [torch.rot90(image, number, dims=(-2, -1)) for number in (1, 3)]
    assert min((turned - one).abs().max().item() for one in either) < 1e-3
    assert torch.allclose(rotated(image, torch.zeros(1)), image, atol=1e-5)


def test_a_blob_is_turned_by_the_stated_angle_at_its_own_distance() -> None:
    size, centre = 64, 32
    for angle in (0.3, 1.1, 2.5, 4.0):
        image = torch.zeros(1, 1, size, size)
        image[0, 0, centre - 1 : centre + 2, centre + 14 : centre + 17] = 1.0  # 15 px to the right
        found = rotated(image, torch.tensor([angle]))[0, 0].clamp(min=0)
        offset = torch.arange(size) - centre
        y = ((found.sum(1) * offset).sum() / found.sum()).item()
        x = ((found.sum(0) * offset).sum() / found.sum()).item()
        assert math.hypot(x, y) == pytest.approx(15, abs=0.2)
        assert math.remainder(math.atan2(y, x) - angle, 2 * math.pi) == pytest.approx(0, abs=0.02)


def test_rotation_leaves_no_frame_and_most_of_the_noise() -> None:
    noise = torch.randn(64, 3, 64, 64, generator=chance(5))
    rules = AugmentConfig(symmetries=False, rotate=True, noise_mads=0)
    turned = augment(noise, chance(6), rules)
    assert torch.isfinite(turned).all()
    corner, middle = turned[:, :, :6, :6].std().item(), turned[:, :, 26:38, 26:38].std().item()
    assert 0.75 < middle < 1
    assert corner == pytest.approx(middle, abs=0.06)
    assert abs(turned.mean().item()) < 0.01


def test_shifts_are_whole_pixels_of_every_size_up_to_the_limit_and_mirror_at_the_border() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    padded = np.pad(image[0, 0].numpy(), 3, mode="symmetric")
    expected = {tuple(padded[y : y + 8, x : x + 8].flatten().tolist()) for y in range(7) for x in range(7)}
    assert len(expected) == 49
    rules = AugmentConfig(symmetries=False, shift_px=3, noise_mads=0)
    varied = augment(image.repeat(1000, 1, 1, 1), chance(), rules)
    assert {tuple(one.flatten().tolist()) for one in varied} == expected


def test_a_shift_as_large_as_the_image_stays_inside_it() -> None:
    images = torch.randn(50, 2, 8, 8)
    varied = augment(images, chance(), AugmentConfig(shift_px=16, noise_mads=0))
    assert torch.isin(varied, images).all()


def test_shifts_and_symmetries_together_are_both_applied() -> None:
    image = torch.arange(81.0).reshape(1, 1, 9, 9)
    rules = AugmentConfig(shift_px=1, noise_mads=0)
    views = {tuple(one.flatten().tolist()) for one in augment(image.repeat(4000, 1, 1, 1), chance(), rules)}
    assert len(views) == 72  # 8 symmetries x 9 shifts


@pytest.mark.parametrize(
    "rules",
    [
        AugmentConfig(rotate=True, shift_px=4),
        AugmentConfig(symmetries=False, noise_mads=0),
        AugmentConfig(symmetries=False),
        AugmentConfig(shift_px=2),
    ],
)
def test_views_keep_type_and_shape_do_not_touch_the_batch_and_do_not_depend_on_its_order_in_memory(
    rules: AugmentConfig,
) -> None:
    images = torch.randn(6, 3, 16, 16)
    kept = images.clone()
    varied = augment(images, chance(2), rules)
    assert torch.equal(images, kept)
    assert varied.data_ptr() != images.data_ptr()
    last = augment(images.contiguous(memory_format=torch.channels_last), chance(2), rules)
    assert torch.equal(varied, last)
    short = augment(images.bfloat16(), chance(2), rules)
    assert short.dtype == torch.bfloat16
    assert short.shape == images.shape
    assert torch.isfinite(short).all()
    assert augment(images[:0], chance(2), rules).shape == (0, 3, 16, 16)
