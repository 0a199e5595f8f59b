"""Everything in one patch: its conditions, its sources with their places, and its arcs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from etl.mock.conditions import Conditions, draw_conditions
from etl.mock.config import SkyConfig
from etl.mock.lensing import Arc, draw_arc
from etl.mock.placement import beside, place_pool, scatter
from etl.mock.plan import Patch
from etl.mock.population import Galaxies, early, faint, join, pool, stars
from etl.mock.tangent import PIXEL_ARCSEC

Floats = npt.NDArray[np.float64]

ODD_CENTRALS = {"EXP": 0.03, "PSF": 0.015, "missed": 0.015}
"""Shares of deflectors that the catalogue takes for a disc or a star, or misses; the rest are as `early` made them."""

_ASTROMETRIC_SCATTER_ARCSEC = 0.08
_FAINT_CLEARANCE_ARCSEC = 2.0
_COMPANION_SHARE = 0.22
_MATCH_REACH_ARCSEC = 6.0


@dataclass(frozen=True)
class Contents:
    """One patch before it is rendered.

    ``galaxies`` and ``xy`` (n, 2; zero-based pixels) run in parallel; the first ``len(arcs)`` are the deflectors, in
    the order of the patch's candidates. ``catalogued`` says which have a row in the sweep.
    """

    patch: Patch
    conditions: Conditions
    galaxies: Galaxies
    xy: Floats
    catalogued: npt.NDArray[np.bool_]
    arcs: tuple[Arc, ...]


def fill_patch(patch: Patch, config: SkyConfig) -> Contents:
    """Draw the contents of a patch; they depend on the seed, the declared tables and the patch's key alone."""
    rng = patch_generator(patch, config, stage=0)
    conditions = draw_conditions(config.conditions, rng)
    lenses, catalogued = _deflectors(len(patch.lens_name), rng)
    side = patch.tangent.n_pixels
    lens_xy = np.stack(patch.tangent.to_pixels(patch.lens_ra, patch.lens_dec), axis=-1)
    lens_xy = lens_xy + rng.normal(0, _ASTROMETRIC_SCATTER_ARCSEC / PIXEL_ARCSEC, lens_xy.shape)
    avoid = np.stack(patch.tangent.to_pixels(patch.avoid_ra, patch.avoid_dec), axis=-1)
    pool_xy = place_pool(config.galaxies_per_patch, side, avoid, rng)
    galaxies = pool(len(pool_xy), rng)
    bright = np.concatenate([avoid, pool_xy])
    hosts = (galaxies.role == "early") & (rng.random(len(galaxies)) < _COMPANION_SHARE)
    companion_xy = beside(pool_xy[hosts], rng)
    faint_xy = scatter(config.faint_per_patch, side, bright, _FAINT_CLEARANCE_ARCSEC, rng)
    star_xy = scatter(config.stars_per_patch, side, bright, _FAINT_CLEARANCE_ARCSEC * 2, rng)
    arcs = tuple(
        draw_arc(config.arcs, tier, float(pa), rng) for tier, pa in zip(patch.lens_tier, lenses.pa_deg, strict=True)
    )
    # A deflector without a row must not be matched to its neighbour instead.
    missed = lens_xy[~catalogued]
    faint_xy, star_xy = faint_xy[_farther(faint_xy, missed)], star_xy[_farther(star_xy, missed)]
    parts = [
        lenses,
        galaxies,
        faint(len(companion_xy), "companion", rng),
        faint(len(faint_xy), "faint", rng),
        stars(len(star_xy), rng),
    ]
    everything = join(parts)
    has_row = np.ones(len(everything), bool)
    has_row[: len(lenses)] = catalogued
    xy = np.concatenate([lens_xy, pool_xy, companion_xy, faint_xy, star_xy])
    return Contents(patch, conditions, everything, xy, has_row, arcs)


def patch_generator(patch: Patch, config: SkyConfig, stage: int) -> np.random.Generator:
    """The patch's own random numbers for one stage of its making, whatever process renders it."""
    return np.random.default_rng(np.random.SeedSequence([config.seed, patch.key, stage]))


def _deflectors(n: int, rng: np.random.Generator) -> tuple[Galaxies, npt.NDArray[np.bool_]]:
    made = early(n, "lens", rng)
    odd = rng.choice(["", *ODD_CENTRALS], size=n, p=[1 - sum(ODD_CENTRALS.values()), *ODD_CENTRALS.values()])
    disc, point = odd == "EXP", odd == "PSF"
    seen = replace(
        made,
        type=np.where(disc | point, odd, made.type).astype("U3"),
        sersic=np.where(disc, 1.0, made.sersic),
        shape_r=np.where(point, 0.12, made.shape_r),
    )
    return seen, odd != "missed"


def _farther(xy: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    gaps = np.hypot(*np.moveaxis(xy[:, None, :] - others[None, :, :], -1, 0)) * PIXEL_ARCSEC
    return np.asarray((gaps > _MATCH_REACH_ARCSEC).all(axis=1))
