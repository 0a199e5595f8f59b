"""Small bricks of coadds for tests: images of any size and place, as fpacked FITS with the survey's names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SCALE_DEG = 0.262 / 3600


@dataclass(frozen=True)
class BrickImages:
    """Images (height, width) by kind and band, and their projection."""

    name: str
    wcs: WCS
    images: dict[tuple[str, str], np.ndarray]


def tan_wcs(ra: float, dec: float, x: float, y: float) -> WCS:
    """A tangent plane about (ra, dec), which lies at the zero-based pixel (x, y)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [x + 1, y + 1]
    wcs.wcs.cd = np.diag([-SCALE_DEG, SCALE_DEG])
    return wcs


def header_of(wcs: WCS) -> fits.Header:
    """The cards that the survey's coadds have for their projection."""
    (xx, xy), (yx, yy) = wcs.wcs.cd
    return fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": wcs.wcs.crval[0], "CRVAL2": wcs.wcs.crval[1]}
        | {"CRPIX1": wcs.wcs.crpix[0], "CRPIX2": wcs.wcs.crpix[1], "CD1_1": xx, "CD1_2": xy, "CD2_1": yx, "CD2_2": yy}
    )


def write_images(root: Path, brick: BrickImages, tile: int = 50) -> Path:
    """Write them losslessly, in square tiles; return the folder."""
    folder = root / "coadd" / brick.name[:3] / brick.name
    folder.mkdir(parents=True, exist_ok=True)
    for (kind, band), pixels in brick.images.items():
        hdu = fits.CompImageHDU(
            pixels, header_of(brick.wcs), compression_type="GZIP_1", quantize_level=0, tile_shape=(tile, tile)
        )
        path = folder / f"legacysurvey-{brick.name}-{kind}-{band}.fits.fz"
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    return folder
