"""One cutout's file: its pixels, or why it has none that can be used."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from dataclasses import dataclass

import numpy as np

from etl.cutouts.files import REQUIRED_META, SCALE_TOLERANCE, SHAPE, Pixels, read_cutout
from etl.cutouts.npy import header_of
from etl.cutouts.stored import stored_arrays
from etl.errors import CutoutError
from etl.storage import AbsentError, Store

_PIXELS = "cutout"
_META = (*REQUIRED_META, "meta_bands_requested")
_PICKLE = b"\x80"


@dataclass(frozen=True)
class Promise:
    """What a cutout's row says of its file."""

    uri: str
    sha256: str
    layer: str
    bands: str
    n_pixels: int
    pixel_scale_arcsec: float


@dataclass(frozen=True)
class Fault:
    """Why a cutout is quarantined: one of `db.models.imaging.REASONS`, and what was found."""

    reason: str
    detail: str


def read_promised(store: Store, promise: Promise) -> Pixels | Fault:
    """Read the file of a cutout and hold it to its row.

    Raises
    ------
    StorageError
        When the store refuses; a file that is not there is a fault, not an error.
    """
    try:
        data = store.get_bytes(promise.uri)
    except AbsentError:
        return Fault("missing", "the file is not in the store")
    arrays = stored_arrays(data, (_PIXELS, *_META))
    if arrays is None or not {_PIXELS, *REQUIRED_META} <= arrays.keys():
        try:
            cutout = read_cutout(data, promise.uri)
        except CutoutError as exc:
            return Fault(_kind_of_ruin(data), str(exc).removeprefix(f"{promise.uri}: "))
        arrays = {_PIXELS: cutout.pixels} | {key: np.asarray(cutout.meta[key]) for key in _META if key in cutout.meta}
    pixels = arrays[_PIXELS]
    if pixels.shape != SHAPE:
        return Fault("wrong_shape", f"the pixels have shape {pixels.shape}, expected {SHAPE}")
    if pixels.dtype != np.float32:
        return Fault("wrong_dtype", f"the pixels are {pixels.dtype}, expected float32")
    if hashlib.sha256(data).hexdigest() != promise.sha256:
        return Fault("altered", "its SHA-256 is not the one recorded")
    broken = _broken_promise({key: array.item() for key, array in arrays.items() if key != _PIXELS}, promise)
    return broken or pixels.astype(np.float32, copy=False)


def _broken_promise(meta: dict[str, object], promise: Promise) -> Fault | None:
    layer, size, scale = meta["meta_layer"], meta["meta_size"], meta["meta_pixel_scale"]
    bands = meta.get("meta_bands_requested", promise.bands)
    if layer != promise.layer:
        return Fault("wrong_layer", f"the file says layer {layer}, its row {promise.layer}")
    if bands != promise.bands:
        return Fault("wrong_bands", f"the file says bands {bands}, its row {promise.bands}")
    if size != promise.n_pixels or not math.isclose(
        _number(scale), promise.pixel_scale_arcsec, rel_tol=SCALE_TOLERANCE
    ):
        wanted = f"{promise.n_pixels} px of {promise.pixel_scale_arcsec} arcsec"
        return Fault("wrong_grid", f"the file says {size} px of {scale} arcsec, its row {wanted}")
    return None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _kind_of_ruin(data: bytes) -> str:
    """Name what `read_cutout` refused, from the headers of the arrays alone: nothing is unpickled."""
    if data[:1] == _PICKLE:
        return "pickled"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            kinds = {name: header_of(archive.read(name)) for name in archive.namelist()}
    except Exception:  # noqa: BLE001 - damaged bytes make zipfile, zlib and tokenize raise whatever they like
        return "unreadable"
    if any(kind.dtype.hasobject for kind in kinds.values()):
        return "pickled"
    pixels = kinds.get(f"{_PIXELS}.npy")
    if pixels is not None and pixels.shape != SHAPE:
        return "wrong_shape"
    return "wrong_dtype" if pixels is not None and pixels.dtype != np.float32 else "unreadable"
