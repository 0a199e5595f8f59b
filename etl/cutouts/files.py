"""The npz file of one cutout: layout, writing (same bytes for the same content) and strict reading."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.cutouts.npy import MAGIC, array_of
from etl.cutouts.npz import npz_bytes
from etl.errors import CutoutError

N_PIXELS = 101
"""Pixels along each side."""

PIXEL_SCALE_ARCSEC = 0.262
SCALE_TOLERANCE = 1e-6
"""Relative difference of a file's pixel scale from that of its row, beyond which it is another grid."""

BANDS = "grz"
"""Bands, in the order of the last axis."""

SHAPE = (N_PIXELS, N_PIXELS, len(BANDS))
META_PREFIX = "meta_"
REQUIRED_META = ("meta_galaxy_id", "meta_ra", "meta_dec", "meta_size", "meta_pixel_scale", "meta_layer")

Pixels = npt.NDArray[np.float32]
MetaValue = str | int | float | bool
_KINDS = "USifb"
"""numpy dtype kinds that a `meta_*` scalar may have: text, numbers, truth values."""


@dataclass(frozen=True)
class Cutout:
    """One image: pixels (101, 101, 3) float32, nanomaggies, bands g, r, z; and its ``meta_*`` scalars."""

    pixels: Pixels
    meta: Mapping[str, MetaValue]


def write_cutout(cutout: Cutout) -> bytes:
    """Return the bytes of the npz file: uncompressed, with fixed times, so that its SHA-256 is reproducible.

    Raises
    ------
    CutoutError
        When the pixels or the names do not follow the layout.
    """
    _check_pixels(cutout.pixels, "cutout to write")
    _check_names({*cutout.meta, "cutout"}, "cutout to write")
    return npz_bytes(("cutout", cutout.pixels), cutout.meta)


def read_cutout(data: bytes, name: str = "cutout") -> Cutout:
    """Read a whole file; `name` is what errors call it.

    Raises
    ------
    CutoutError
        When it is not an npz of this layout: truncated, pickled, another shape, type or set of names.
    """
    with _opened(data, name) as archive:
        pixels = _pixels_of(archive, name)
        meta: dict[str, MetaValue] = {}
        for key in _names_of(archive):
            if key != "cutout":
                value = _member(archive, key, name)
                if value.shape != () or value.dtype.kind not in _KINDS:
                    raise CutoutError(f"{name}: {key} is {value.dtype} {value.shape}, expected one text or number")
                meta[key] = value.item()
    return Cutout(pixels, meta)


def read_pixels(data: bytes, name: str = "cutout") -> Pixels:
    """Read only the pixels, for speed; refuses what `read_cutout` refuses, except bad values of ``meta_*``."""
    with _opened(data, name) as archive:
        return _pixels_of(archive, name)


def _opened(data: bytes, name: str) -> zipfile.ZipFile:
    if data.startswith(MAGIC):
        raise CutoutError(f"{name}: is a single array, expected an npz file")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as exc:  # damaged bytes make zipfile raise whatever it likes
        raise CutoutError(f"{name}: is not a readable npz file ({_first_line(exc)}); make it again") from exc
    _check_names(set(_names_of(archive)), name)
    return archive


def _names_of(archive: zipfile.ZipFile) -> list[str]:
    return [member.removesuffix(".npy") for member in archive.namelist()]


def _pixels_of(archive: zipfile.ZipFile, name: str) -> Pixels:
    pixels = _member(archive, "cutout", name)
    _check_pixels(pixels, name)
    return np.array(pixels, np.float32)


def _member(archive: zipfile.ZipFile, key: str, name: str) -> npt.NDArray[np.generic]:
    try:
        return array_of(archive.read(f"{key}.npy"))
    except Exception as exc:  # as above, and zlib
        raise CutoutError(f"{name}: {key} cannot be read ({_first_line(exc)}); make it again") from exc


def _check_names(names: set[str], name: str) -> None:
    absent = {"cutout", *REQUIRED_META} - names
    if absent:
        raise CutoutError(f"{name}: lacks {', '.join(sorted(absent))}")
    strange = sorted(key for key in names if key != "cutout" and not key.startswith(META_PREFIX))
    if strange:
        raise CutoutError(f"{name}: holds {', '.join(strange)}, expected cutout and {META_PREFIX}*")


def _check_pixels(pixels: npt.NDArray[np.generic], name: str) -> None:
    if pixels.shape != SHAPE or pixels.dtype != np.float32:
        raise CutoutError(f"{name}: cutout is {pixels.dtype} {pixels.shape}, expected float32 {SHAPE}")


def _first_line(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]
