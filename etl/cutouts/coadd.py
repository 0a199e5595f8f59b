"""Brick coadds: every target of a brick sliced in one read of each band."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import BANDS, N_PIXELS, Pixels
from etl.errors import CoaddError
from etl.storage import LocalStore, Store

HALF = N_PIXELS // 2
_LAYOUTS = ("coadd/{group}/{brick}/", "{group}/{brick}/", "{brick}/", "")
"""Folders, below the place given, in which a brick's files are looked for; the first is the survey's own."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BrickPosition:
    """Centres of the targets of one brick, ICRS degrees."""

    brickname: str
    ra: Floats
    dec: Floats


def coadd_keys(store: Store, brickname: str) -> dict[tuple[str, str], str]:
    """Find the image and inverse variance of each band of a brick: (kind, band) to key.

    Raises
    ------
    CoaddError
        When a file is absent.
    """
    wanted = [(kind, band) for band in BANDS for kind in ("image", "invvar")]
    names = {(kind, band): f"legacysurvey-{brickname}-{kind}-{band}.fits.fz" for kind, band in wanted}
    for layout in _LAYOUTS:
        folder = layout.format(group=brickname[:3], brick=brickname)
        if store.exists(folder + names["image", "r"]):
            absent = [name for name in names.values() if not store.exists(folder + name)]
            if absent:
                raise CoaddError(f"brick {brickname}: {', '.join(absent)} missing beside the r image; fetch them")
            return {which: folder + name for which, name in names.items()}
    raise CoaddError(f"brick {brickname}: no {names['image', 'r']} there; fetch its coadds or correct --coadds")


def slice_brick(store: Store, position: BrickPosition) -> Pixels:
    """Cut all targets of a brick out of its coadds.

    The cutout's centre (index 50, 50) is the pixel that holds the position, as in the survey's cutout service. Pixels
    outside the image or without inverse variance are NaN.

    Returns
    -------
    array
        (n, 101, 101, 3) float32, nanomaggies, bands g, r, z.

    Raises
    ------
    CoaddError
        When a file is absent or unreadable, or the bands have different sizes or projections.
    """
    keys = coadd_keys(store, position.brickname)
    stack = np.empty((len(position.ra), N_PIXELS, N_PIXELS, len(BANDS)), np.float32)
    first: tuple[tuple[int, ...], Floats, Floats] | None = None
    for index, band in enumerate(BANDS):
        image, header = _read(store, keys["image", band])
        invvar, _ = _read(store, keys["invvar", band])
        if image.shape != invvar.shape:
            sizes = f"{image.shape} and {invvar.shape}"
            raise CoaddError(f"brick {position.brickname}: image and invvar of {band} have sizes {sizes}; fetch them")
        x, y = pixel_positions(header, position)
        first = first or (image.shape, x, y)
        if image.shape != first[0] or not (np.allclose(x, first[1], atol=0.01) and np.allclose(y, first[2], atol=0.01)):
            raise CoaddError(f"brick {position.brickname}: band {band} has another size or projection than g")
        image[~(invvar > 0)] = np.nan
        stack[..., index] = slice_image(image, x, y)
    return stack


def slice_image(image: npt.NDArray[np.float32], x: Floats, y: Floats) -> npt.NDArray[np.float32]:
    """Cut (n, 101, 101) windows around zero-based positions, at whole pixels; NaN outside the image."""
    padded = np.full((image.shape[0] + 2 * HALF, image.shape[1] + 2 * HALF), np.nan, np.float32)
    padded[HALF:-HALF, HALF:-HALF] = image
    windows = np.lib.stride_tricks.sliding_window_view(padded, (N_PIXELS, N_PIXELS))
    column, row = (np.floor(np.nan_to_num(values, nan=-1.0) + 0.5).astype(np.int64) for values in (x, y))
    is_inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
    cut = np.asarray(windows[np.where(is_inside, row, 0), np.where(is_inside, column, 0)], dtype=np.float32)
    cut[~is_inside] = np.nan
    return cut


def pixel_positions(header: dict[str, Any], position: BrickPosition) -> tuple[Floats, Floats]:
    """Return zero-based pixel coordinates of positions by the header's projection; NaN where there are none."""
    from astropy.wcs import WCS, NoConvergence

    wcs = WCS(naxis=2)
    try:
        wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
        wcs.wcs.crval = [header["CRVAL1"], header["CRVAL2"]]
        wcs.wcs.crpix = [header["CRPIX1"], header["CRPIX2"]]
        wcs.wcs.cd = [[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]
        x, y = wcs.all_world2pix(position.ra, position.dec, 0)
    except (KeyError, ValueError, NoConvergence) as exc:
        raise CoaddError(f"brick {position.brickname}: its header has no usable projection ({exc})") from exc
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def _read(store: Store, key: str) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Read the first image of an fpacked file, and its header."""
    import fitsio

    with _local_file(store, key) as path:
        try:
            with fitsio.FITS(str(path)) as file:
                hdu = next((hdu for hdu in file if hdu.get_exttype() == "IMAGE_HDU" and hdu.get_dims()), None)
                if hdu is None:
                    raise CoaddError(f"{key}: holds no image; fetch it again")
                header = hdu.read_header()
                # A copy in the machine's byte order: masking writes into it.
                return np.array(hdu.read(), dtype=np.float32), {name: header[name] for name in header}
        except OSError as exc:
            reason = str(exc).splitlines()[0]
            raise CoaddError(f"{key}: is not a readable FITS image ({reason}); fetch it again") from exc


@contextmanager
def _local_file(store: Store, key: str) -> Iterator[Path]:
    """Give a path for cfitsio, which reads no object store."""
    if isinstance(store, LocalStore):
        yield store.root / key
        return
    with tempfile.NamedTemporaryFile(suffix=".fits.fz") as copy:
        copy.write(store.get_bytes(key))
        copy.flush()
        yield Path(copy.name)
