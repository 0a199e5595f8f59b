from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from training.errors import PreprocessingError
from training.preprocess import Preprocessing, preprocess


def independent(cutout: np.ndarray, crop: int, inner: float, outer: float) -> np.ndarray:
    """One cutout, pixel by pixel, by the definition in the design."""
    start = 50 - crop // 2
    result = np.zeros((3, crop, crop))
    for band in range(3):
        ring, image = [], cutout[start : start + crop, start : start + crop, band].astype(float)
        for y in range(crop):
            for x in range(crop):
                r = ((y + start - 50) ** 2 + (x + start - 50) ** 2) ** 0.5
                if inner <= r <= outer and np.isfinite(image[y, x]):
                    ring.append(image[y, x])
        median = np.median(ring)
        mad = np.median(np.abs(np.array(ring) - median))
        result[band] = (image - median) / mad
    return result


@pytest.mark.parametrize(("crop", "inner", "outer"), [(64, 20.0, 32.0), (101, 32.5, 45.0), (33, 5.0, 9.5)])
def test_preprocessing_equals_the_definition_pixel_by_pixel(crop: int, inner: float, outer: float) -> None:
    rng = np.random.default_rng(1)
    cutouts = rng.normal(3.0, 0.5, (2, 101, 101, 3)).astype(np.float32)
    cutouts[:, 48:53, 48:53] += 40
    cutouts[1, 20:60, 55:75, 1] = np.nan
    cutouts[1, 30, 30, 2] = np.inf
    rules = Preprocessing(crop_px=crop, annulus_inner_px=inner, annulus_outer_px=outer)
    found = preprocess(cutouts, rules)
    assert found.shape == (2, 3, crop, crop)
    assert found.dtype == np.float32
    for image, cutout in zip(found, cutouts, strict=True):
        with np.errstate(invalid="ignore"):
            expected = independent(cutout, crop, inner, outer)
        expected[~np.isfinite(expected)] = 0
        np.testing.assert_allclose(image, np.clip(expected, -10, 10), atol=2e-4)
    assert found.max() == 10


def test_asinh_keeps_the_order_of_bright_pixels_that_clipping_loses() -> None:
    cutout = np.random.default_rng(2).normal(0, 1, (1, 101, 101, 3)).astype(np.float32)
    cutout[0, 50, 50], cutout[0, 50, 51] = 500, 1000
    clipped = preprocess(cutout, Preprocessing())[0, :, 32, 32:34]
    soft = preprocess(cutout, Preprocessing(scaling="asinh"))[0, :, 32, 32:34]
    assert (clipped == 10).all()
    assert (np.diff(soft) > 0.6).all()  # asinh(2x) - asinh(x) is ln 2 far out


def test_a_missing_pixel_becomes_zero_and_does_not_move_the_statistics() -> None:
    cutout = np.random.default_rng(3).normal(5, 1, (1, 101, 101, 3)).astype(np.float32)
    holed = cutout.copy()
    holed[0, 60, 60] = np.nan  # 14 px from the centre: outside the annulus
    before, after = preprocess(cutout, Preprocessing()), preprocess(holed, Preprocessing())
    assert (after[0, :, 42, 42] == 0).all()
    after[0, :, 42, 42] = before[0, :, 42, 42]
    np.testing.assert_array_equal(after, before)


def test_a_band_without_usable_annulus_is_all_zero() -> None:
    cutout = np.random.default_rng(4).normal(0, 1, (1, 101, 101, 3)).astype(np.float32)
    cutout[..., 0] = np.nan
    cutout[..., 1] = 7.0
    image = preprocess(cutout, Preprocessing())[0]
    assert (image[:2] == 0).all()
    assert image[2].std() > 1


def test_both_radii_belong_to_the_annulus_and_count_from_the_objects_pixel() -> None:
    ring = Preprocessing().annulus()
    assert not ring[32, 32 + 19]
    assert ring[32, 32 + 20]
    assert ring[32, 0]  # 32 px to the left
    assert not ring[0, 0]
    wide = Preprocessing(crop_px=101, annulus_inner_px=32.5, annulus_outer_px=45).annulus()
    assert not wide[50, 50 + 32]
    assert wide[50, 50 + 33]
    assert wide[50, 50 + 45]
    assert not wide[50, 50 + 46]


@pytest.mark.parametrize("shape", [(101, 101, 3), (2, 64, 64, 3), (2, 3, 101, 101), (2, 101, 101, 4)])
def test_cutouts_of_another_shape_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PreprocessingError, match=r"\(n, 101, 101, 3\)") as caught:
        preprocess(np.zeros(shape, dtype=np.float32), Preprocessing())
    assert str(shape) in str(caught.value)


def test_no_cutout_gives_no_image() -> None:
    assert preprocess(np.empty((0, 101, 101, 3), np.float32), Preprocessing()).shape == (0, 3, 64, 64)


@pytest.mark.parametrize(
    "keys", [{"crop_px": 120}, {"annulus_inner_px": 50.0}, {"bands": "rgz"}, {"clip_mads": 0.0}, {"typo": 1}]
)
def test_impossible_rules_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate(keys)


def test_rules_survive_being_written_down() -> None:
    rules = Preprocessing(crop_px=48, annulus_outer_px=24, scaling="asinh")
    assert Preprocessing.model_validate_json(rules.model_dump_json()) == rules
