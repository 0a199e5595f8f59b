"""Light of galaxies and stars: Sersic profiles, blue rings and arms, and the Moffat point-spread function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gamma, gammaincinv

from etl.mock.tangent import PIXEL_ARCSEC

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ellipse:
    """Shape of a source: geometric-mean or major-axis meaning of ``radius`` is stated where it is used.

    Radius in arcsec, ``q`` minor over major axis, ``pa_deg`` position angle of the major axis from north to east.
    """

    radius: float
    q: float
    pa_deg: float


def sersic_b(n: float) -> float:
    """The b that makes the effective radius hold half the light: P(2n, b) = 1/2 (Graham & Driver 2005, eq. 4)."""
    return float(gammaincinv(2 * n, 0.5))


def sersic_total(n: float) -> float:
    """Total light of a unit-intensity, unit-radius, round Sersic profile: 2 pi n e^b b^(-2n) Gamma(2n)."""
    b = sersic_b(n)
    return float(2 * np.pi * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n))


def sersic_surface(radius2: npt.NDArray[np.floating], n: float) -> npt.NDArray[np.floating]:
    """Surface brightness, per unit total flux and unit effective radius squared, at squared radius ``radius2``."""
    b = sersic_b(n)
    power = radius2 ** np.asarray(0.5 / n, radius2.dtype)
    return np.asarray(np.exp(-b * (power - 1)) / sersic_total(n), radius2.dtype)


def elliptical(east: Floats, north: Floats, shape: Ellipse) -> tuple[Floats, Floats]:
    """Offsets (arcsec) along the major and minor axis."""
    angle = np.radians(shape.pa_deg)
    return east * np.sin(angle) + north * np.cos(angle), north * np.sin(angle) - east * np.cos(angle)


def sersic_flux(east: Floats, north: Floats, cell: float, shape: Ellipse, n: float) -> Image:
    """Flux of a unit Sersic galaxy in square cells of side ``cell`` arcsec centred at the given offsets.

    ``shape.radius`` is the half-light radius along the major axis. The cells next to the centre, where the profile is
    steep, are integrated on an 11 x 11 grid; the others are taken at their middle.
    """
    area = cell**2 / (shape.radius**2 * shape.q)
    along, across = elliptical(east, north, shape)
    radius2 = (along**2 + (across / shape.q) ** 2) / shape.radius**2
    flux = sersic_surface(radius2.astype(np.float32), n) * np.float32(area)
    steep = np.hypot(east, north) < 5.2 * cell
    sub = (np.arange(11) - 5) / 11 * cell
    fine_east = east[steep][:, None, None] + sub[:, None]
    fine_north = north[steep][:, None, None] + sub[None, :]
    along, across = elliptical(fine_east, fine_north, shape)
    radius2 = (along**2 + (across / shape.q) ** 2) / shape.radius**2
    flux[steep] = (sersic_surface(radius2, n).mean(axis=(1, 2)) * area).astype(np.float32)
    return np.asarray(flux, np.float32)


def ring_flux(east: Floats, north: Floats, shape: Ellipse, arms: int, phase: float) -> Image:
    """Unit flux spread over a blue ring (``arms`` 0) or over that many spiral arms about ``shape.radius``."""
    along, across = elliptical(east, north, shape)
    radius, angle = np.hypot(along, across / shape.q), np.arctan2(across / shape.q, along)
    if arms:
        wave = 1 + np.cos(arms * angle - 4.0 * np.log(np.maximum(radius, 0.05) / shape.radius) + phase)
        profile = radius * np.exp(-1.5 * radius / shape.radius) * wave**3
    else:
        width = 0.15 * shape.radius + 0.15
        profile = np.exp(-0.5 * ((radius - shape.radius) / width) ** 2) * (1 + 0.7 * np.cos(angle - phase)) ** 2
    return np.asarray(profile / profile.sum(), np.float32)


def clumps(east: Floats, north: Floats, smooth: Image, shape: Ellipse, phase: float) -> Image:
    """The smooth light broken into star-forming clumps by interfering waves; the flux is kept."""
    along, across = elliptical(east, north, shape)
    k = 2 * np.pi / (0.55 * shape.radius + 0.5)
    waves = np.cos(k * along + phase) + np.cos(k * across / shape.q - phase) + np.cos(0.7 * k * (along + across) + 2)
    broken = smooth * np.exp(0.9 * waves)
    return np.asarray(broken * (smooth.sum() / broken.sum()), np.float32)


def moffat_alpha(fwhm: float, beta: float) -> float:
    """Core radius of a Moffat profile, in the unit of its FWHM (Trujillo et al. 2001, eq. 3)."""
    return float(fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1)))


def moffat(radius2: npt.NDArray[np.floating], fwhm: float, beta: float) -> npt.NDArray[np.floating]:
    """Moffat profile of unit total flux, per unit area, at squared radius ``radius2`` (same unit as ``fwhm``)."""
    alpha2 = moffat_alpha(fwhm, beta) ** 2
    return np.asarray((beta - 1) / (np.pi * alpha2) * (1 + radius2 / alpha2) ** (-beta), radius2.dtype)


def moffat_noise_area(fwhm_arcsec: float, beta: float) -> float:
    """Noise-equivalent area in coadd pixels, 1 / integral of the squared profile."""
    area = np.pi * moffat_alpha(fwhm_arcsec, beta) ** 2 * (2 * beta - 1) / (beta - 1) ** 2
    return float(area / PIXEL_ARCSEC**2)
