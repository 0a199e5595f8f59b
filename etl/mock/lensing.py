"""Lensed arcs: a Sersic source seen through a singular isothermal ellipsoid with external shear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etl.mock.config import ArcsConfig, CutNormal
from etl.mock.light import Ellipse, Floats, Image, elliptical, sersic_surface

_NEARLY_ROUND = 0.999


@dataclass(frozen=True)
class Arc:
    """One lens and the source behind it (angles in arcsec and degrees from north to east, magnitudes AB, unlensed)."""

    theta_e: float
    lens_q: float
    lens_pa: float
    shear: float
    shear_pa: float
    source_east: float
    source_north: float
    source_radius: float
    source_q: float
    source_pa: float
    source_sersic: float
    source_mag: dict[str, float]


def draw_arc(config: ArcsConfig, tier: str, light_pa: float, rng: np.random.Generator) -> Arc:
    """Draw an arc from the declared distribution of the tier."""
    of_tier = config.tier_a if tier == "A" else config.tier_b
    theta_e = cut_normal(of_tier.theta_e_arcsec, rng)
    offset = theta_e * of_tier.max_offset_theta_e * np.sqrt(rng.random())
    towards = 2 * np.pi * rng.random()
    mag_r = cut_normal(of_tier.source_mag_r, rng)
    return Arc(
        theta_e=theta_e,
        lens_q=cut_normal(config.lens.axis_ratio, rng),
        lens_pa=float((light_pa + rng.normal(0, config.lens.angle_scatter_deg)) % 180),
        shear=cut_normal(config.lens.shear, rng),
        shear_pa=float(180 * rng.random()),
        source_east=float(offset * np.sin(towards)),
        source_north=float(offset * np.cos(towards)),
        source_radius=10 ** cut_normal(config.source.log10_radius_arcsec, rng),
        source_q=cut_normal(config.source.axis_ratio, rng),
        source_pa=float(180 * rng.random()),
        source_sersic=cut_normal(config.source.sersic, rng),
        source_mag={
            "g": mag_r + cut_normal(config.source.color_g_r, rng),
            "r": mag_r,
            "z": mag_r - cut_normal(config.source.color_r_z, rng),
        },
    )


def cut_normal(declared: CutNormal, rng: np.random.Generator) -> float:
    """One value of a normal distribution cut at both ends, by rejection."""
    mean, sigma, low, high = declared
    while True:
        value = float(rng.normal(mean, sigma))
        if low <= value <= high:
            return value


def source_plane(east: Floats, north: Floats, arc: Arc) -> tuple[Floats, Floats]:
    """Where the light seen at an offset from the lens (arcsec) comes from.

    The deflection of an SIE with critical curve of area pi theta_E^2 (Kormann, Schneider & Bartelmann 1994, eq. 27,
    with the intermediate-axis normalisation of Keeton 2001) plus an external shear that stretches images along
    ``shear_pa``.
    """
    mass = Ellipse(arc.theta_e, arc.lens_q, arc.lens_pa)
    along, across = elliptical(east, north, mass)
    if arc.lens_q > _NEARLY_ROUND:
        radius = np.maximum(np.hypot(along, across), 1e-9)
        bend_along, bend_across = arc.theta_e * along / radius, arc.theta_e * across / radius
    else:
        q = arc.lens_q
        psi = np.maximum(np.hypot(q * along, across), 1e-9)
        root = np.sqrt(1 - q * q)
        bend_along = arc.theta_e * np.sqrt(q) / root * np.arctan(root * along / psi)
        bend_across = arc.theta_e * np.sqrt(q) / root * np.arctanh(root * across / psi)
    sin, cos = np.sin(np.radians(arc.lens_pa)), np.cos(np.radians(arc.lens_pa))
    bend_east, bend_north = bend_along * sin - bend_across * cos, bend_along * cos + bend_across * sin
    gamma1, gamma2 = (arc.shear * f(2 * np.radians(arc.shear_pa)) for f in (np.cos, np.sin))
    return (
        east - bend_east + gamma1 * east - gamma2 * north,
        north - bend_north - gamma1 * north - gamma2 * east,
    )


def lensed_flux(east: Floats, north: Floats, cell: float, arc: Arc) -> Image:
    """Light of the arcs per unit unlensed flux, in cells of side ``cell`` arcsec, each taken on a 2 x 2 grid.

    The source is normalised in the source plane with the geometric-mean half-light radius, so the sum over the image is
    the magnification.
    """
    total = np.zeros(east.shape)
    source = Ellipse(arc.source_radius, arc.source_q, arc.source_pa)
    for shift_east in (-cell / 4, cell / 4):
        for shift_north in (-cell / 4, cell / 4):
            beta_east, beta_north = source_plane(east + shift_east, north + shift_north, arc)
            along, across = elliptical(beta_east - arc.source_east, beta_north - arc.source_north, source)
            radius2 = (source.q * along**2 + across**2 / source.q) / source.radius**2
            total += sersic_surface(radius2, arc.source_sersic)
    return np.asarray(total * (cell / arc.source_radius) ** 2 / 4, np.float32)
