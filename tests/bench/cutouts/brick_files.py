"""A full brick of coadds as the survey packs them, for the benchmark."""

from __future__ import annotations

from pathlib import Path

import fitsio
import numpy as np
from numpy.typing import NDArray

from etl.bricks import brick_of_name, centre_of

BRICK = "0001m040"
SCALE_DEG = 0.262 / 3600
_TILE = 100
_STEPS = {"image": 1e-3, "invvar": 1.0}
_GALAXY_PX = 20


def write_brick(root: Path, n_pixels: int) -> Path:
    """Write a brick of noise and 4,000 galaxies (fewer in a smaller one); return the folder of its files.

    RICE with 100 x 100 tiles as the survey's; PSF size and number of exposures as maps of steps.
    """
    rng = np.random.default_rng(1)
    folder = root / "coadd" / BRICK[:3] / BRICK
    folder.mkdir(parents=True)
    light = _galaxies(n_pixels, rng)
    for band, (noise, fwhm) in {"g": (0.004, 1.4), "r": (0.006, 1.3), "z": (0.015, 1.2)}.items():
        shape = (n_pixels, n_pixels)
        image = (light + rng.normal(0, noise, shape)).astype(np.float32)
        invvar = np.full(shape, noise**-2, np.float32) * rng.normal(1, 0.02, shape).astype(np.float32)
        invvar[n_pixels // 3 : n_pixels // 3 + 8] = 0
        side = np.arange(n_pixels) // max(1, n_pixels // 7)
        psfsize = (fwhm + 0.01 * (side[:, None] + side)).astype(np.float32)
        nexp = (3 + (side[:, None] + side) % 5).astype(np.int16)
        for kind, pixels in (("image", image), ("invvar", invvar), ("psfsize", psfsize), ("nexp", nexp)):
            _write(folder / f"legacysurvey-{BRICK}-{kind}-{band}.fits.fz", kind, pixels)
    return folder


def _write(path: Path, kind: str, pixels: NDArray[np.generic]) -> None:
    packing: dict[str, object] = {"compress": "GZIP", "qlevel": 0.0} if kind == "psfsize" else {"compress": "RICE"}
    if kind in _STEPS:
        packing |= {"qlevel": -_STEPS[kind], "qmethod": "SUBTRACTIVE_DITHER_2", "dither_seed": 7}
    with fitsio.FITS(str(path), "rw", clobber=True) as out:
        out.write(pixels, header=_header(pixels.shape), tile_dims=(_TILE, _TILE), **packing)


def _header(shape: tuple[int, ...]) -> dict[str, object]:
    ra, dec = (float(value[0]) for value in centre_of(brick_of_name([BRICK])))
    middle = {"CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2}
    matrix = {"CD1_1": -SCALE_DEG, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE_DEG}
    return {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec} | middle | matrix


def _galaxies(n_pixels: int, rng: np.random.Generator) -> NDArray[np.float32]:
    y, x = np.mgrid[-_GALAXY_PX : _GALAXY_PX + 1, -_GALAXY_PX : _GALAXY_PX + 1]
    profile = np.exp(-np.hypot(x, y) / 3).astype(np.float32)
    light = np.zeros((n_pixels, n_pixels), np.float32)
    n = max(1, 4000 * n_pixels**2 // 3600**2)
    corners = rng.integers(0, n_pixels - 2 * _GALAXY_PX - 1, (n, 2))
    for (row, column), flux in zip(corners.tolist(), rng.exponential(1, n), strict=True):
        light[row : row + 2 * _GALAXY_PX + 1, column : column + 2 * _GALAXY_PX + 1] += flux * profile
    return light
