"""PSF, depth and exposures at a target: from the maps, against the mock sky's own sweeps, or from the sweep's row."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from etl.cutouts.coadd import CoaddSource
from etl.cutouts.conditions import point_source_depth
from etl.cutouts.record import conditions_columns
from etl.cutouts.source import Positions
from etl.mock.conditions import Conditions as MockConditions
from tests.etl.coadd_bricks import BrickImages, tan_wcs, write_images

N = 150
BRICK = "0001m040"


def test_the_maps_are_read_at_the_middle_pixel_for_few_targets_and_for_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    wcs = tan_wcs(0.125, -4.0, (N - 1) / 2, (N - 1) / 2)
    images: dict[tuple[str, str], np.ndarray] = {}
    for band in "grz":
        images["image", band] = rng.normal(size=(N, N)).astype(np.float32)
        images["invvar", band] = rng.uniform(50, 500, (N, N)).astype(np.float32)
        images["psfsize", band] = rng.uniform(0.9, 2.0, (N, N)).astype(np.float32)
        images["nexp", band] = rng.integers(1, 30, (N, N)).astype(np.int16)
    images["psfsize", "z"][70, 60] = 0
    write_images(tmp_path, BrickImages(BRICK, wcs, images))
    for places in ([(60, 70)], [(60, 70), *((int(x), int(y)) for x, y in rng.integers(50, 100, (40, 2)))]):
        x, y = np.array(places).T
        found = CoaddSource(str(tmp_path)).slice(Positions(BRICK, *wcs.all_pix2world(x, y, 0))).conditions
        assert found is not None
        for b, band in enumerate("grz"):
            psf = images["psfsize", band][y, x].astype(float)
            np.testing.assert_array_equal(found.psf_fwhm_arcsec[:, b], np.where(psf > 0, psf, np.nan))
            np.testing.assert_array_equal(found.n_exposures[:, b], images["nexp", band][y, x])
            sigma = psf[0] / 0.262 / math.sqrt(8 * math.log(2))
            if psf[0] > 0:
                expected = images["invvar", band][70, 60] / (4 * math.pi * sigma**2)
                assert math.isclose(found.psfdepth[0, b], expected, rel_tol=1e-6)
            else:
                assert math.isnan(found.psfdepth[0, b])


def test_without_maps_the_conditions_are_not_known(tmp_path: Path) -> None:
    wcs = tan_wcs(0.125, -4.0, (N - 1) / 2, (N - 1) / 2)
    images = {(kind, band): np.ones((N, N), np.float32) for kind in ("image", "invvar") for band in "grz"}
    write_images(tmp_path, BrickImages(BRICK, wcs, images))
    found = CoaddSource(str(tmp_path)).slice(Positions(BRICK, *wcs.all_pix2world([70.0], [70.0], 0))).conditions
    assert found is not None
    assert np.isnan(np.concatenate([found.psf_fwhm_arcsec, found.psfdepth, found.n_exposures])).all()


def test_the_depth_is_that_of_a_fit_with_a_gaussian() -> None:
    fwhm, invvar = 1.4, 250.0
    sigma = fwhm / 0.262 / math.sqrt(8 * math.log(2))
    y, x = np.mgrid[-40:41, -40:41]
    psf = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    psf /= psf.sum()
    fitted = invvar * (psf**2).sum()  # inverse variance of the amplitude of a least-squares fit of the PSF
    assert math.isclose(point_source_depth(np.array(invvar), np.array(fwhm)), fitted, rel_tol=1e-6)
    assert np.isnan(point_source_depth(np.array([1.0]), np.array([0.0]))).all()


def test_a_moffat_sky_is_less_deep_by_the_ratio_of_the_noise_areas() -> None:
    """What the docstring says of the survey's own depth, which is that of its PSFs with their wings."""
    for beta, ratio in ((3.0, 1.67), (6.0, 1.25)):
        alpha = 1.3 / (2 * math.sqrt(2 ** (1 / beta) - 1)) / 0.262
        y, x = np.mgrid[-400:401, -400:401]
        psf = (1 + (x**2 + y**2) / alpha**2) ** -beta
        psf /= psf.sum()
        ours = float(point_source_depth(np.array(1.0), np.array(1.3)))
        assert math.isclose(ours / (psf**2).sum(), ratio, rel_tol=0.01)


def test_a_row_has_its_conditions_from_the_maps_or_from_the_sweep_but_never_from_both() -> None:
    nan = float("nan")
    maps = [1.1, 1.2, 1.3, 100, 200, 300, 4, 5, 6]
    sweep = [1.0, 1.0, 1.0, 90, 190, 290, 3, 3, 3]
    known = np.array(
        [maps, [nan] * 9, maps, [1.1, nan, 1.3, 100, nan, 300, 4, 5, 6], [nan] * 9, [*maps[:6], *[nan] * 3]]
    )
    of_sweep = np.array([sweep, sweep, [nan] * 9, sweep, [nan] * 9, sweep])
    of_sweep[1, 0] = 0.0  # not observed in g
    columns = conditions_columns(known, of_sweep)
    assert columns["conditions_source"].to_pylist() == ["coadd", "sweep", "coadd", "sweep", None, "coadd"]
    assert columns["psf_fwhm_g_arcsec"].to_pylist() == [1.1, None, 1.1, 1.0, None, 1.1]
    assert columns["psfdepth_z"].to_pylist() == [300, 290, 300, 290, None, 300]
    assert columns["nexp_r"].to_pylist() == [5, 3, 5, 3, None, None]


def test_a_mock_coadd_is_deeper_by_its_maps_than_by_its_sweep_in_the_ratio_that_is_stated() -> None:
    """The mock sky's PSFDEPTH is that of its Moffat PSFs; its coadds have the pixel noise that goes with it."""
    sky = MockConditions(0.02, {"r": 1.25}, {"r": 800.0}, {"r": 6}, {"r": 3.2})
    ours = float(point_source_depth(np.array(sky.pixel_sigma("r") ** -2), np.array(1.25)))
    assert math.isclose(ours / 800.0, 1.6, rel_tol=0.01)
