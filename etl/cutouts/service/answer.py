"""One answer of the cutout service: pixels, once it is shown to be what was asked for.

What the service writes into its FITS files: the image as primary HDU with the bands as its first axis; ``BANDS`` (all
letters) and ``BAND0``, ``BAND1`` ...; a TAN projection about the position that was asked for, with ``CD`` matrix; and
the layer as ``SURVEY`` and ``VERSION``, by which a merged layer or another release is told from the one asked for. It
states no unit: like the coadds, its pixels are nanomaggies; where an answer has a ``BUNIT``, that must say so.

It starts from an image of zeros and adds bricks where there are any, and a brick's coadd is exactly zero where nothing
was exposed (its compression keeps zeros exact), while a measured pixel, a mean of noise, never is. So zeros have no
data. But the service interpolates (Lanczos, 3 pixels), which gives the outer 3 pixels of every gap values made of what
lies around it: zeros are grown by 3 pixels, and become NaN, band by band. Gaps narrower than 7 pixels are not seen in
an answer; who needs those takes the coadds.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter

from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC, Pixels
from etl.cutouts.service.errors import PassingAnswerError, WrongAnswerError

MARKS = {"ls-dr10-south": ("DECaLS", "DR10-south")}
"""What the service calls a layer in its headers: SURVEY and VERSION (`ls-dr10` is LegacySurvey, DR10)."""

SCALE_TOLERANCE_ARCSEC = 1e-4
CENTRE_TOLERANCE_PX = 0.5
KERNEL_PX = 3
"""Half the width of the service's interpolation."""

Header = dict[str, Any]

_MAGIC = b"SIMPLE  ="
_SHAPE = (len(BANDS), N_PIXELS, N_PIXELS)
_FLOAT32 = -32
_STORED = np.dtype(">f4")
_UNITS = ("nanomaggy", "nanomaggies", "nmgy")
_N_LETTERS = 60
_ARCSEC_PER_DEGREE = 3600.0


def read_answer(body: bytes, ra: float, dec: float, layer: str) -> Pixels:
    """Return the pixels of an answer; (101, 101, 3) float32, nanomaggies, bands g, r, z, NaN without data.

    Parameters
    ----------
    body
        The FITS file.
    ra, dec
        The position that was asked for, ICRS degrees.
    layer
        The layer that was asked for.

    Raises
    ------
    WrongAnswerError
        When it is no FITS file, or not the image that was asked for.
    PassingAnswerError
        When it is half of one.
    """
    header, data = _read_header(body)
    _check_image(header)
    _check_bands(header)
    _check_layer(header, layer)
    _check_place(header, ra, dec)
    n_values = math.prod(_SHAPE)
    if len(data) < n_values * _STORED.itemsize:
        raise PassingAnswerError(f"the FITS file ends after {len(body):,} bytes, amid its image")
    image = np.frombuffer(data, _STORED, n_values).reshape(_SHAPE)
    if np.isinf(image).any():
        raise WrongAnswerError("the image holds infinite values")
    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1), dtype=np.float32)
    is_zero = pixels == 0
    if is_zero.any():
        pixels[maximum_filter(is_zero, (2 * KERNEL_PX + 1, 2 * KERNEL_PX + 1, 1))] = np.nan
    return pixels


def _read_header(body: bytes) -> tuple[Header, memoryview]:
    """Return the header of the first image, and what comes after it."""
    from astropy.io import fits

    if _MAGIC.startswith(body):
        raise PassingAnswerError(f"the answer has {len(body)} bytes")
    if not body.startswith(_MAGIC):
        begin = " ".join(body[: 4 * _N_LETTERS].decode("ascii", "replace").split())[:_N_LETTERS]
        raise WrongAnswerError(f"the answer is no FITS file, it begins with '{begin}'")
    stream = io.BytesIO(body)
    try:
        header = fits.Header.fromfile(stream)
        return dict(header), memoryview(body)[stream.tell() :]
    except (OSError, ValueError, fits.VerifyError) as exc:
        raise PassingAnswerError(f"the FITS header cannot be read ({' '.join(str(exc).split())})") from exc


def _check_image(header: Header) -> None:
    n_axes = header.get("NAXIS")
    shape = tuple(header.get(f"NAXIS{axis}") for axis in range(n_axes if isinstance(n_axes, int) else 0, 0, -1))
    if shape != _SHAPE or header.get("BITPIX") != _FLOAT32:
        raise WrongAnswerError(
            f"the image has shape {shape} and BITPIX {header.get('BITPIX')}, expected {_SHAPE} and {_FLOAT32}"
        )
    kind = str(header.get("IMAGETYP", "image"))
    if kind.lower() != "image":
        raise WrongAnswerError(f"the answer is of the kind {kind}, expected image")
    unit = str(header.get("BUNIT", _UNITS[0])).strip()
    if unit.lower() not in _UNITS:
        raise WrongAnswerError(f"the image is in {unit}, expected nanomaggies")


def _check_bands(header: Header) -> None:
    listed = [str(header.get(f"BAND{index}", "?")).strip() for index in range(len(BANDS))]
    whole = str(header.get("BANDS", "?")).strip()
    if listed != list(BANDS) or whole != BANDS:
        raise WrongAnswerError(f"the bands are {whole} ({', '.join(listed)}), expected {BANDS}")


def _check_layer(header: Header, layer: str) -> None:
    found = tuple(str(header.get(name, "nothing")).strip() for name in ("SURVEY", "VERSION"))
    if found != MARKS[layer]:
        expected = " ".join(MARKS[layer])
        raise WrongAnswerError(f"the image is of {' '.join(found)}, expected {expected} (layer {layer})")


def _check_place(header: Header, ra: float, dec: float) -> None:
    from astropy.wcs import WCS, NoConvergence

    wcs = WCS(naxis=2)
    try:
        wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
        wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
        wcs.wcs.crpix = [header["CRPIX1"], header["CRPIX2"]]
        cd = np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]], dtype=np.float64)
        wcs.wcs.cd = cd
        x, y = (float(value) for value in wcs.all_world2pix(ra, dec, 0))
    except (KeyError, ValueError, TypeError, NoConvergence) as exc:
        raise WrongAnswerError(f"the image has no usable projection ({' '.join(str(exc).split())})") from exc
    expected = np.diag([-PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC])
    if not np.abs(cd * _ARCSEC_PER_DEGREE - expected).max() <= SCALE_TOLERANCE_ARCSEC:
        scale = float(np.sqrt(abs(np.linalg.det(cd)))) * _ARCSEC_PER_DEGREE
        raise WrongAnswerError(f"a pixel is {scale:.5g} arcsec or not north up, expected {PIXEL_SCALE_ARCSEC}")
    off = float(np.hypot(x - N_PIXELS // 2, y - N_PIXELS // 2))
    if not off <= CENTRE_TOLERANCE_PX:
        raise WrongAnswerError(f"its centre is {off:.2f} pixels from the position, limit {CENTRE_TOLERANCE_PX}")
