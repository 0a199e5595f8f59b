"""Brick coadds as the survey writes them: fpacked FITS, one band and one quantity a file."""

from __future__ import annotations

from pathlib import Path

import fitsio

from etl.mock.light import Image
from etl.mock.plan import Patch
from etl.mock.scene import IMAGE_BANDS, Scene
from etl.mock.tangent import PIXEL_ARCSEC

_IMAGE_STEP = 1e-4
"""Quantisation step of images, nanomaggies: some 4 % of the noise of the deepest coadds."""

_TILE = 100


def coadd_path(root: Path, brickname: str, kind: str, band: str) -> Path:
    """``root/coadd/AAA/<brick>/legacysurvey-<brick>-<kind>-<band>.fits.fz``."""
    return root / "coadd" / brickname[:3] / brickname / f"legacysurvey-{brickname}-{kind}-{band}.fits.fz"


def write_coadds(root: Path, patch: Patch, scene: Scene) -> None:
    """Write image, invvar and psfsize of the three bands of one brick."""
    coadd_path(root, patch.brickname, "image", "g").parent.mkdir(parents=True, exist_ok=True)
    for b, band in enumerate(IMAGE_BANDS):
        _write(root, patch, band, "image", scene.image[b])
        _write(root, patch, band, "invvar", scene.invvar[b])
        _write(root, patch, band, "psfsize", scene.psf_fwhm[b])


def _write(root: Path, patch: Patch, band: str, kind: str, pixels: Image) -> None:
    """RICE with subtractive dithering for pixels (zeros kept exact), lossless GZIP for the smooth maps."""
    options = (
        {"compress": "RICE", "qlevel": -_IMAGE_STEP, "qmethod": "SUBTRACTIVE_DITHER_2"}
        if kind == "image"
        else {"compress": "GZIP", "qlevel": 0.0}
    )
    path = coadd_path(root, patch.brickname, kind, band)
    with fitsio.FITS(str(path), "rw", clobber=True) as out:
        out.write(
            pixels,
            header=_header(patch, band, kind),
            extname=f"{kind.upper()}_{band.upper()}",
            tile_dims=(_TILE, _TILE),
            dither_seed=patch.brickid % 10_000 + 1,
            **options,
        )


def _header(patch: Patch, band: str, kind: str) -> list[dict[str, object]]:
    centre = (patch.tangent.n_pixels + 1) / 2
    step = PIXEL_ARCSEC / 3600
    unit = {"image": "nanomaggy", "invvar": "1/nanomaggy^2", "psfsize": "arcsec"}[kind]
    cards: list[tuple[str, object, str]] = [
        ("SURVEY", "stronglens mock", "Not an observation"),
        ("LSDR", "DR10", "Data release whose format this follows"),
        ("PROCTYPE", "tile", "NOAO processing type"),
        ("PRODTYPE", kind, "NOAO product type"),
        ("IMTYPE", kind, "Kind of image"),
        ("BRICKNAME", patch.brickname, "Mock brick"),
        ("BRICK", patch.brickname, "Mock brick"),
        ("BRICKID", patch.brickid, "Mock brick id"),
        ("FILTER", band, "Bandpass"),
        ("BAND", band, "Bandpass"),
        ("CTYPE1", "RA---TAN", "Tangent plane"),
        ("CTYPE2", "DEC--TAN", "Tangent plane"),
        ("CRVAL1", patch.tangent.ra, "Reference RA, degrees"),
        ("CRVAL2", patch.tangent.dec, "Reference Dec, degrees"),
        ("CRPIX1", centre, "Reference x"),
        ("CRPIX2", centre, "Reference y"),
        ("CD1_1", -step, "CD matrix"),
        ("CD1_2", 0.0, "CD matrix"),
        ("CD2_1", 0.0, "CD matrix"),
        ("CD2_2", step, "CD matrix"),
        ("IMAGEW", float(patch.tangent.n_pixels), "Image width"),
        ("IMAGEH", float(patch.tangent.n_pixels), "Image height"),
        ("EQUINOX", 2000.0, "Equinox"),
        ("BUNIT", unit, "AB zeropoint 22.5" if kind == "image" else ""),
    ]
    return [{"name": name, "value": value, "comment": comment} for name, value, comment in cards]
