"""Colour thumbnails of cutouts, ready for a page."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st

from db.errors import StronglensError
from etl.cutouts.files import Pixels, read_pixels
from etl.storage import Store, open_store

GAIN = {"z": 2.0, "r": 3.4, "g": 6.0}
"""Brightness of each band on the screen, near the survey's own viewer: a red galaxy is orange, an arc blue."""

STRETCH, SOFTENING, SKY = 0.15, 4.0, -0.02
"""Of the asinh stretch, in nanomaggies per pixel after the gain: the noise of the sky stays just visible."""

NO_DATA = (72, 72, 78)
"""Colour of pixels that no exposure covers."""

ENLARGE = 2
_READERS = 8


@dataclass(frozen=True)
class Thumbnail:
    """An image as a data URL, or why there is none."""

    source: str | None
    problem: str | None = None


@st.cache_data(ttl=300, max_entries=32, show_spinner="Reading cutouts")
def thumbnails(store: str, endpoint_url: str | None, uris: tuple[str | None, ...]) -> list[Thumbnail]:
    """Read and colour the cutouts of one page of a gallery; a file that cannot be read is a `problem`, no error.

    Parameters
    ----------
    store, endpoint_url
        As `etl.storage.open_store` takes them.
    uris
        Addresses as the database has them.

    Raises
    ------
    StorageError
        When `store` is no address of a store.
    """
    opened = open_store(store, endpoint_url)
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(lambda uri: _thumbnail(opened, uri), uris))


def colour(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Colour a cutout: red, green, blue from z, r, g.

    Parameters
    ----------
    pixels
        Shape (n, n, 3), bands g, r, z, nanomaggies; NaN where there is no data.

    Returns
    -------
    numpy.ndarray
        Shape (n, n, 3), uint8, north up: the files' first row is the south edge.

    Notes
    -----
    Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    is_missing = np.isnan(pixels).any(axis=-1)
    green, red, infrared = np.moveaxis(np.nan_to_num(pixels), -1, 0)
    image = make_lupton_rgb(
        infrared * GAIN["z"], red * GAIN["r"], green * GAIN["g"], minimum=SKY, stretch=STRETCH, Q=SOFTENING
    )
    image[is_missing] = NO_DATA
    return np.asarray(image[::-1], dtype=np.uint8)


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file of an image (n, n, 3), every pixel enlarged to a square."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image.repeat(ENLARGE, axis=0).repeat(ENLARGE, axis=1)).save(out, "PNG")
    return out.getvalue()


def _thumbnail(store: Store, uri: str | None) -> Thumbnail:
    if uri is None:
        return Thumbnail(None, "the cutout was rejected: it has no file")
    try:
        pixels = read_pixels(store.get_bytes(uri), uri)
    except StronglensError as exc:
        return Thumbnail(None, str(exc))
    return Thumbnail("data:image/png;base64," + base64.b64encode(png(colour(pixels))).decode())
