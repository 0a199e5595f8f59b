"""Metrics of cutouts, against the published values and plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from db.models.imaging import CutoutMetric
from etl.cutouts.files import read_cutout
from etl.cutouts.metrics import V1_METRICS, measure_audit, measure_v1
from etl.validation.border import border_statistics
from etl.validation.measure import measure_planes


def test_v1_gives_back_the_metrics_of_the_published_cutouts(shared_data: Path) -> None:
    cutouts = [read_cutout(path.read_bytes()) for path in sorted((shared_data / "cutouts").glob("*.npz"))]
    found = measure_v1(np.stack([cutout.pixels[..., 1] for cutout in cutouts]))
    assert len(cutouts) == 6
    for name in V1_METRICS:
        published = [cutout.meta[f"meta_{name}_r"] for cutout in cutouts]
        np.testing.assert_allclose(found[name], published, rtol=3e-7, err_msg=name)


def test_the_names_are_the_columns_of_the_table() -> None:
    ours = measure_planes(np.zeros((1, 3, 101, 101), np.float32))
    assert list(ours) == [column.name for column in CutoutMetric.__table__.columns][1:]


def test_audit_metrics_equal_plain_numpy_also_where_pixels_are_missing() -> None:
    stack = np.random.default_rng(3).normal(1.0, 0.3, (4, 101, 101)).astype(np.float32)
    stack[1, :3, :] = np.nan
    stack[2, 55:60, 60:64] = np.nan
    found = measure_audit(stack)
    y, x = np.mgrid[-50:51, -50:51]
    r, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x)) % 360
    ring = (r >= 4) & (r < 16)
    for i, image in enumerate(stack.astype(float)):
        sectors = [np.nanmean(image[ring & (angle >= 45 * k) & (angle < 45 * (k + 1))]) for k in range(8)]
        border = image.copy()
        border[5:96, 5:96] = np.nan
        truth = {
            "core_4px": np.nanmean(image[r < 4]),
            "core_8px": np.nanmean(image[r < 8]),
            "core_12px": np.nanmean(image[r < 12]),
            "annulus_mean": np.nanmean(image[ring]),
            "annulus_max": np.nanmax(image[ring]),
            "annulus_std": np.nanstd(image[ring]),
            "outer": np.nanmean(image[(r >= 16) & (r < 28)]),
            "mad": np.nanmedian(np.abs(image - np.nanmedian(image))),
            "radial_gradient": np.nanmean(image[r < 4]) - np.nanmean(image[(r >= 16) & (r < 28)]),
            "asymmetry": np.std(sectors),
            "border": np.nanmean(border),
        }
        assert {name: values[i] for name, values in found.items()} == pytest.approx(truth, rel=1e-5)


def test_v1_leaves_missing_pixels_out() -> None:
    stack = np.random.default_rng(4).normal(1.0, 0.3, (2, 101, 101)).astype(np.float32)
    stack[1, 70:74, 10:40] = np.nan
    found = measure_v1(stack)
    image = stack[1]
    assert found["median"][1] == np.nanmedian(image)
    assert found["percentile_99"][1] == pytest.approx(np.nanpercentile(image.astype(float), 99), rel=1e-6)
    assert found["mad"][1] == pytest.approx(np.nanmedian(np.abs(image - np.nanmedian(image))), rel=1e-6)
    assert found["std"][1] == pytest.approx(np.nanstd(image.astype(float)), rel=1e-6)


def test_a_region_with_too_few_pixels_has_no_value() -> None:
    stack = np.ones((2, 101, 101), np.float32)
    stack[0, 40:61, 40:61] = np.nan
    stack[1] = np.nan
    found = measure_v1(stack) | measure_audit(stack)
    assert np.isnan(found["core_brightness"]).all()
    assert np.isnan(found["core_4px"]).all()
    assert found["border"][0] == 1.0
    assert all(np.isnan(values[1]) for values in found.values())


def test_an_image_measures_the_same_to_the_last_bit_in_any_company() -> None:
    rng = np.random.default_rng(6)
    cube = rng.normal(1.0, 0.3, (7, 101, 101, 3)).astype(np.float32)
    cube[2, :2] = np.nan
    for measure in (measure_v1, measure_audit):
        together, alone = measure(cube[..., 1]), measure(cube[4:5, :, :, 1].copy())
        assert all(together[name][4] == alone[name][0] for name in alone)
    planes = cube.transpose(0, 3, 1, 2)
    everything, alone = measure_planes(planes), measure_planes(planes[4:5].copy())
    assert all(everything[name][4] == alone[name][0] for name in alone)
    apart = measure_v1(cube[..., 1]), measure_audit(cube[..., 1])
    for prefix, one in zip(("v1", "audit"), apart, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(everything[f"{prefix}_{name}_r"], values)


def test_border_statistics_equal_plain_numpy_also_where_pixels_are_missing() -> None:
    planes = np.random.default_rng(8).normal(0.1, 0.3, (3, 3, 101, 101)).astype(np.float32)
    planes[1, 0, :5], planes[1, 1, 2:4, :] = np.nan, np.nan
    planes[2, 2] = np.nan
    found = border_statistics(planes)
    assert len(found) == 30
    for image, number in [(image, number) for image in planes[:2] for number in range(3)] + [(planes[2], 1)]:
        plane, band = image[number].astype(float), "grz"[number]
        inside = plane.copy()
        inside[5:96, 5:96] = np.nan
        sides = {"south": plane[:5], "north": plane[96:], "east": plane[5:96, :5], "west": plane[5:96, 96:]}
        truth = {f"border_p{q}_{band}": np.nanpercentile(inside, q) for q in (5, 25, 50, 75, 95)}
        truth |= {f"border_std_{band}": np.nanstd(inside)}
        truth |= {f"border_{side}_{band}": _mean(pixels) for side, pixels in sides.items()}
        place = next(i for i in range(3) if np.array_equal(planes[i], image, equal_nan=True))
        assert {name: found[name][place] for name in truth} == pytest.approx(truth, rel=1e-6, nan_ok=True)
    assert all(np.isnan(found[name][2]) for name in found if name.endswith("_z"))


def _mean(pixels: np.ndarray) -> float:
    return float(pixels[~np.isnan(pixels)].mean()) if not np.isnan(pixels).all() else float("nan")
