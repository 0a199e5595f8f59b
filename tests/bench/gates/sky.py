"""One mock sky of one seed as a validation sees it: a row and a cutout for each candidate and each negative."""

from __future__ import annotations

from dataclasses import dataclass

import healpy
import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.cutouts.files import N_PIXELS, Pixels
from etl.mock.candidates import Candidates
from etl.mock.config import SkyConfig
from etl.mock.contents import fill_patch
from etl.mock.plan import Patch, plan_patches
from etl.mock.scene import IMAGE_BANDS, Scene, render
from etl.mock.sweep import Rows, sweep_rows

HALF = N_PIXELS // 2
TIER_A_SHARE = 0.37
"""Of the demo's 1,049 candidates 389 are of tier A; arcs of tier A are the brighter."""

MATCH_ARCSEC, EXCLUSION_ARCSEC = 5.0, 11.0
MASK = sum(1 << bit for bit in (1, 5, 6, 7, 11, 12, 13))
MAX_NAN_FRACTION, CENTRE_PX = 0.05, 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sky:
    """`objects` as `audit_shortcuts` takes them, without metrics; `pixels` (n, 101, 101, 3) beside them.

    `sigma` (n, 3): sky noise of a pixel of the object's patch in g, r, z, nanomaggies.
    """

    objects: pd.DataFrame
    pixels: Pixels
    sigma: npt.NDArray[np.float32]


def make_sky(seed: int, n_candidates: int) -> Sky:
    """Render candidates scattered over the sky and the galaxies around them; deterministic by seed.

    Positives are the candidates, with the conditions of their Tractor match within 5 arcsec. Negatives are all SER,
    DEV and REX galaxies with z < 20 and clear mask bits, more than 11 arcsec from every candidate. Cutouts that the
    rules of NaN reject are left out. Pixels are cut before the coadds would be compressed.
    """
    config = SkyConfig(n_tier_b=n_candidates, workers=1, seed=seed)
    parts = [_patch(patch, config) for patch in plan_patches(_candidates(seed, n_candidates), config)]
    return Sky(
        pd.concat([part.objects for part in parts], ignore_index=True),
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.sigma for part in parts]),
    )


def _candidates(seed: int, n: int) -> Candidates:
    rng = np.random.default_rng([seed, n])
    name = np.array([f"MOCK-{seed}-{number:05d}" for number in range(n)])
    dec = np.degrees(np.arcsin(rng.uniform(-0.95, np.sin(np.radians(33.5)), n)))
    return Candidates(name, rng.uniform(0, 360, n), dec, np.where(rng.random(n) < TIER_A_SHARE, "A", "B"))


def _patch(patch: Patch, config: SkyConfig) -> Sky:
    contents = fill_patch(patch, config)
    scene = render(contents, config)
    rows = sweep_rows(contents, scene.invvar, config)
    lens = np.column_stack([patch.lens_ra, patch.lens_dec])
    position = np.column_stack([rows["RA"], rows["DEC"]])
    gaps = _arcsec(lens, position)
    match = np.where(gaps.min(axis=1) <= MATCH_ARCSEC, gaps.argmin(axis=1), -1)
    negative = np.flatnonzero(_is_negative(rows, position, np.column_stack([patch.avoid_ra, patch.avoid_dec])))
    at = np.concatenate([lens, position[negative]])
    pixels = _cut(scene, *patch.tangent.to_pixels(*at.T))
    objects = _objects(rows, np.concatenate([match, negative]), at)
    objects.insert(0, "label", np.arange(len(at)) < len(lens))
    objects["label"] = objects["label"].astype(int)
    sigma = np.array([np.median(invvar[invvar > 0]) ** -0.5 for invvar in scene.invvar], np.float32)
    sound = _is_sound(pixels)
    return Sky(objects[sound], pixels[sound], np.broadcast_to(sigma, (len(at), 3))[sound])


def _arcsec(left: Floats, right: Floats) -> Floats:
    """Distances within a patch of 0.02 degrees, for which the plane is near enough; (n, m)."""
    east = (left[:, None, 0] - right[None, :, 0] + 180) % 360 - 180
    gaps = np.hypot(east * np.cos(np.radians(left[:, None, 1])), left[:, None, 1] - right[None, :, 1]) * 3600
    return np.asarray(gaps)


def _is_negative(rows: Rows, position: Floats, avoid: Floats) -> npt.NDArray[np.bool_]:
    is_galaxy = np.isin(np.char.strip(rows["TYPE"].astype(str)), ["SER", "DEV", "REX"])
    is_bright = rows["FLUX_Z"] > 10 ** (0.4 * (22.5 - 20.0))
    is_clear = ((rows["MASKBITS"] & MASK) == 0) & (_arcsec(position, avoid).min(axis=1) > EXCLUSION_ARCSEC)
    return np.asarray(is_galaxy & is_bright & is_clear)


def _cut(scene: Scene, x: Floats, y: Floats) -> Pixels:
    image = np.where(scene.invvar > 0, scene.image, np.nan)
    padded = np.pad(image, ((0, 0), (HALF, HALF), (HALF, HALF)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (N_PIXELS, N_PIXELS), axis=(1, 2))
    column, row = (np.floor(values + 0.5).astype(int) for values in (x, y))
    return np.asarray(windows[:, row, column].transpose(1, 2, 3, 0), np.float32)


def _is_sound(pixels: Pixels) -> npt.NDArray[np.bool_]:
    is_missing = np.isnan(pixels)
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - HALF
    lacks_centre = is_missing[:, np.hypot(x, y) <= CENTRE_PX].any(axis=(1, 2))
    return np.asarray((is_missing.mean(axis=(1, 2)).max(axis=-1) <= MAX_NAN_FRACTION) & ~lacks_centre)


def _objects(rows: Rows, which: npt.NDArray[np.int64], at: Floats) -> pd.DataFrame:
    """Columns of `load_objects`; a position without a row (-1) has no type and no conditions."""
    has_row = which >= 0
    chosen = rows[np.maximum(which, 0)]

    def column(values: npt.ArrayLike) -> Floats:
        return np.where(has_row, np.asarray(values, float), np.nan)

    ra, dec = at.T
    table: dict[str, object] = {
        "dec": dec,
        "healpix_128": healpy.ang2pix(128, ra, dec, nest=True, lonlat=True),
        "type": np.where(has_row, np.char.strip(chosen["TYPE"].astype(str)).astype(object), None),
        "mag_r": column(_magnitude(chosen["FLUX_R"])),
        "ebv_mag": column(chosen["EBV"]),
        "shape_r_arcsec": column(chosen["SHAPE_R"]),
        "sersic": column(chosen["SERSIC"]),
        "ellipticity": column(np.hypot(chosen["SHAPE_E1"], chosen["SHAPE_E2"])),
    }
    for band in IMAGE_BANDS:
        survey_band = band.upper()
        table[f"nobs_{band}"] = column(chosen[f"NOBS_{survey_band}"])
        table[f"psf_fwhm_{band}_arcsec"] = column(chosen[f"PSFSIZE_{survey_band}"])
        table[f"depth_{band}"] = column(_magnitude(5 / np.sqrt(chosen[f"PSFDEPTH_{survey_band}"].astype(float))))
    return pd.DataFrame(table)


def _magnitude(flux: npt.ArrayLike) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(22.5 - 2.5 * np.log10(np.asarray(flux, float)))
