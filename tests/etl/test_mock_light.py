from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammainc

from etl.mock.config import ArcsConfig, SkyConfig
from etl.mock.lensing import Arc, draw_arc, lensed_flux, source_plane
from etl.mock.light import Ellipse, moffat, moffat_noise_area, sersic_b, sersic_flux, sersic_surface
from etl.mock.tangent import PIXEL_ARCSEC

CELL = PIXEL_ARCSEC / 2
SIS = Arc(
    theta_e=1.5,
    lens_q=1.0,
    lens_pa=0.0,
    shear=0.0,
    shear_pa=0.0,
    source_east=0.5,
    source_north=0.0,
    source_radius=0.02,
    source_q=1.0,
    source_pa=0.0,
    source_sersic=1.0,
    source_mag={"g": 23.0, "r": 23.0, "z": 23.0},
)


def offsets(half: float, cell: float = CELL, shift: tuple[float, float] = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(-half, half + cell / 2, cell)
    north, east = np.meshgrid(axis - shift[1], axis - shift[0], indexing="ij")
    return east, north


@pytest.mark.parametrize("n", [0.7, 1.0, 2.5, 4.0, 6.0])
def test_sersic_profile_integrates_to_one_and_its_radius_holds_half(n: float) -> None:
    def ring(radius: float) -> float:
        return 2 * np.pi * radius * float(sersic_surface(np.array(radius**2), n))

    inside = quad(ring, 0, 1, limit=200)[0]
    outside = quad(ring, 1, 2000, limit=2000, points=[10.0, 100.0])[0]
    assert inside == pytest.approx(0.5, abs=2e-4)
    assert inside + outside == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("n", "q", "radius"), [(1.0, 1.0, 0.3), (1.0, 0.3, 2.0), (4.0, 0.7, 1.0), (6.0, 0.9, 0.6)])
def test_rendered_sersic_flux_is_what_the_ellipse_inside_the_window_should_hold(
    n: float, q: float, radius: float
) -> None:
    east, north = offsets(12 * radius, shift=(0.031, -0.047))
    flux = sersic_flux(east, north, CELL, Ellipse(radius, q, 30.0), n)
    angle = np.radians(30.0)
    along, across = east * np.sin(angle) + north * np.cos(angle), east * np.cos(angle) - north * np.sin(angle)
    scaled = np.hypot(along, across / q) / radius
    # The window holds the ellipse of 12 radii and, where q < 1, a little more.
    whole = gammainc(2 * n, sersic_b(n) * 12 ** (1 / n))
    assert flux.sum() == pytest.approx(whole, abs=0.005 if q == 1.0 else 0.02)
    assert flux[scaled < 1].sum() == pytest.approx(0.5, abs=0.03)


def test_position_angle_runs_from_north_to_east() -> None:
    east, north = offsets(4.0)
    flux = sersic_flux(east, north, CELL, Ellipse(1.0, 0.3, 40.0), 1.0)
    moments = (flux * east * north).sum(), (flux * (north**2 - east**2)).sum()
    assert np.degrees(np.arctan2(2 * moments[0], moments[1]) / 2) == pytest.approx(40.0, abs=1.0)


def test_moffat_has_unit_flux_its_fwhm_and_its_noise_area() -> None:
    fwhm, beta = 1.3, 3.2
    total = quad(lambda r: 2 * np.pi * r * float(moffat(np.array(r * r), fwhm, beta)), 0, 500, limit=500)[0]
    square = quad(lambda r: 2 * np.pi * r * float(moffat(np.array(r * r), fwhm, beta)) ** 2, 0, 100, limit=500)[0]
    assert total == pytest.approx(1.0, abs=1e-3)
    peak, half = moffat(np.array([0.0, (fwhm / 2) ** 2]), fwhm, beta)
    assert half / peak == pytest.approx(0.5)
    assert moffat_noise_area(fwhm, beta) * PIXEL_ARCSEC**2 == pytest.approx(1 / square, rel=1e-3)


def test_a_compact_source_at_a_third_of_the_radius_of_an_isothermal_sphere_is_magnified_six_times() -> None:
    east, north = offsets(3.0, cell=0.01)
    assert lensed_flux(east, north, 0.01, SIS).sum() == pytest.approx(6.0, rel=0.01)


def test_an_ellipsoid_that_is_nearly_round_bends_light_like_the_sphere() -> None:
    east, north = offsets(3.0, cell=0.37)
    sphere, ellipsoid = (
        source_plane(east, north, SIS),
        source_plane(east, north, replace(SIS, lens_q=0.998, lens_pa=20)),
    )
    np.testing.assert_allclose(ellipsoid, sphere, atol=4e-3)


def test_the_deflection_of_an_ellipsoid_is_the_one_that_its_mass_makes() -> None:
    arc = replace(SIS, lens_q=0.6, lens_pa=0.0)
    step = 1e-4
    east, north = np.array([0.9, -1.3, 0.4]), np.array([0.7, 0.5, -2.0])

    def bent(e: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source = source_plane(e, n, arc)
        return e - source[0], n - source[1]

    slope_east = (bent(east + step, north)[0] - bent(east - step, north)[0]) / (2 * step)
    slope_north = (bent(east, north + step)[1] - bent(east, north - step)[1]) / (2 * step)
    curl = bent(east, north + step)[0] - bent(east, north - step)[0] - bent(east + step, north)[1]
    curl += bent(east - step, north)[1]
    # Convergence: half the divergence; the major axis points north, so ellipses are q^2 north^2 + east^2.
    kappa = 0.5 * arc.theta_e * np.sqrt(arc.lens_q) / np.sqrt((arc.lens_q * north) ** 2 + east**2)
    np.testing.assert_allclose((slope_east + slope_north) / 2, kappa, rtol=1e-5)
    np.testing.assert_allclose(curl / step, 0, atol=1e-6)


def test_shear_alone_magnifies_by_its_determinant() -> None:
    east, north = offsets(2.0, cell=0.01)
    arc = replace(SIS, theta_e=1e-9, shear=0.1, shear_pa=33.0, source_east=0.1, source_radius=0.1)
    assert lensed_flux(east, north, 0.01, arc).sum() == pytest.approx(1 / (1 - 0.1**2), rel=2e-3)


def test_arcs_stay_inside_their_declared_distribution() -> None:
    declared: ArcsConfig = SkyConfig().arcs
    rng = np.random.default_rng(3)
    drawn = [draw_arc(declared, "A", 10.0, rng) for _ in range(400)]
    theta_e = np.array([arc.theta_e for arc in drawn])
    offset = np.array([np.hypot(arc.source_east, arc.source_north) for arc in drawn])
    assert theta_e.min() >= declared.tier_a.theta_e_arcsec[2]
    assert theta_e.max() <= declared.tier_a.theta_e_arcsec[3]
    assert ((theta_e > 0.8) & (theta_e < 2.5)).mean() > 0.8
    assert (offset <= theta_e * declared.tier_a.max_offset_theta_e + 1e-12).all()
    assert np.median([arc.source_mag["r"] for arc in drawn]) == pytest.approx(declared.tier_a.source_mag_r[0], abs=0.1)
