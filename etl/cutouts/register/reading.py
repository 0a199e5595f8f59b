"""Files of a set of cutouts, judged one by one: what each says of itself, and whether that can be taken in."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import numpy as np

from etl.cutouts.brick import centre_has_data, reject_reason
from etl.cutouts.files import (
    BANDS,
    N_PIXELS,
    PIXEL_SCALE_ARCSEC,
    SCALE_TOLERANCE,
    MetaValue,
    Pixels,
    read_cutout,
)
from etl.cutouts.register.errors import Kind, NotTaken
from etl.cutouts.register.place import Place
from etl.cutouts.source import SourceKind
from etl.errors import CutoutError
from etl.storage import AbsentError

_BRICKNAME = re.compile(r"(\d{4}[mp]\d{3})_(.+)")
_KINDS_OF_OBJECT = {"positive": True, "negative": False}


@dataclass(frozen=True)
class Files:
    """Files to look at: where they are, the layer that they must be of, and their names below the place."""

    place: Place
    layer: str
    names: tuple[str, ...]
    sha256: tuple[str | None, ...]
    """What a list of hashes says of each; None where there is no list."""


@dataclass(frozen=True)
class Sound:
    """A file that may be taken in, if its object is found.

    Attributes
    ----------
    name
        Its key below the place.
    galaxy_id, brickname
        What it calls its object, and the brick of that.
    ra, dec
        Its centre, ICRS degrees.
    url, fetched
        Where its pixels are from, and when that was read (empty: it does not say).
    nan_fraction
        Fraction of pixels without data, the worst band.
    """

    name: str
    sha256: str
    n_bytes: int
    is_positive: bool
    galaxy_id: str
    brickname: str
    ra: float
    dec: float
    source: SourceKind
    url: str
    fetched: str
    nan_fraction: float
    status: str


class _RefusedError(Exception):
    """What is wrong with one file."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def read_files(files: Files) -> list[Sound | NotTaken]:
    """Read and judge some files, in their order.

    Raises
    ------
    StorageError
        When the place refuses.
    """
    store = files.place.store
    found: list[Sound | NotTaken] = []
    for name, expected in zip(files.names, files.sha256, strict=True):
        if not name.isprintable():
            found.append(NotTaken(ascii(name), Kind.LAYOUT, "its name cannot be recorded; rename it"))
            continue
        try:
            found.append(_judge(store.get_bytes(files.place.prefix + name), name, expected, files.layer))
        except _RefusedError as exc:
            found.append(NotTaken(name, exc.kind, str(exc)))
        except CutoutError as exc:
            found.append(NotTaken(name, Kind.UNREADABLE, str(exc).removeprefix(f"{name}: ")))
        except AbsentError:
            found.append(NotTaken(name, Kind.ABSENT, "was there when the files were listed, and is gone"))
    return found


def _judge(data: bytes, name: str, expected: str | None, layer: str) -> Sound:
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected.lower():
        raise _RefusedError(Kind.ALTERED, f"its SHA-256 is {sha256}, the list says {expected}")
    cutout = read_cutout(data, name)
    meta = cutout.meta
    source, url = _check_source(meta, layer)
    _check_grid(meta)
    galaxy_id, brickname = _object(meta)
    is_positive = _KINDS_OF_OBJECT.get(str(meta.get("meta_cutout_type")))
    if is_positive is None:
        raise _RefusedError(
            Kind.LAYOUT, f"meta_cutout_type is {meta.get('meta_cutout_type')}, expected positive or negative"
        )
    ra, dec = _number(meta, "meta_ra"), _number(meta, "meta_dec")
    if not (0 <= ra < 360 and -90 <= dec <= 90):
        raise _RefusedError(Kind.LAYOUT, f"its centre {ra}, {dec} is not on the sky")
    nan_fraction = _worst_missing(cutout.pixels)
    return Sound(
        name=name,
        sha256=sha256,
        n_bytes=len(data),
        is_positive=is_positive,
        galaxy_id=galaxy_id,
        brickname=brickname,
        ra=ra,
        dec=dec,
        source=source,
        url=url,
        fetched=str(meta.get("meta_timestamp", "")),
        nan_fraction=nan_fraction,
        status="partial" if nan_fraction > 0 else "ok",
    )


def _check_source(meta: Mapping[str, MetaValue], layer: str) -> tuple[SourceKind, str]:
    """Return what the pixels are from: the cutout service, asked for this layer, or a brick's coadds."""
    if meta["meta_layer"] != layer:
        raise _RefusedError(Kind.OTHER_LAYER, f"its layer is {meta['meta_layer']}, expected {layer}")
    url, fetched = (str(meta.get(name, "")) for name in ("meta_cutout_url", "meta_timestamp"))
    if not (url.isprintable() and fetched.isprintable()):
        raise _RefusedError(Kind.LAYOUT, f"meta_cutout_url {url!r} or meta_timestamp {fetched!r} cannot be recorded")
    if url.endswith(".fits.fz"):
        return "coadd", url
    if urlsplit(url).scheme not in {"http", "https"}:
        raise _RefusedError(
            Kind.LAYOUT, f"meta_cutout_url '{url}' names neither the cutout service nor a brick's coadds"
        )
    asked = parse_qs(urlsplit(url).query)
    if asked.get("layer", [layer]) != [layer]:
        raise _RefusedError(Kind.OTHER_LAYER, f"its layer is {layer}, but {', '.join(asked['layer'])} was asked for")
    if asked.get("bands", [BANDS]) != [BANDS]:
        raise _RefusedError(Kind.LAYOUT, f"bands {', '.join(asked['bands'])} were asked for, expected {BANDS}")
    return "service", url


def _check_grid(meta: Mapping[str, MetaValue]) -> None:
    bands, size, scale = meta.get("meta_bands_requested"), meta["meta_size"], _number(meta, "meta_pixel_scale")
    if bands != BANDS:
        raise _RefusedError(Kind.LAYOUT, f"its bands are {bands}, expected {BANDS}")
    if size != N_PIXELS:
        raise _RefusedError(Kind.LAYOUT, f"meta_size is {size}, expected {N_PIXELS}")
    if not math.isclose(scale, PIXEL_SCALE_ARCSEC, rel_tol=SCALE_TOLERANCE):
        raise _RefusedError(Kind.LAYOUT, f"a pixel is {scale} arcsec, expected {PIXEL_SCALE_ARCSEC}")


def _object(meta: Mapping[str, MetaValue]) -> tuple[str, str]:
    """Return what the file calls its object, and the brick."""
    galaxy_id = str(meta["meta_galaxy_id"])
    parts = _BRICKNAME.fullmatch(galaxy_id)
    if parts is None:
        raise _RefusedError(Kind.LAYOUT, f"meta_galaxy_id is '{galaxy_id}', expected brickname_objid")
    brickname = parts[1]
    if meta.get("meta_brickname", brickname) != brickname:
        raise _RefusedError(
            Kind.LAYOUT, f"meta_brickname is {meta['meta_brickname']}, but meta_galaxy_id '{galaxy_id}'"
        )
    return galaxy_id, brickname


def _number(meta: Mapping[str, MetaValue], name: str) -> float:
    value = meta[name]
    if isinstance(value, str) or not math.isfinite(value):
        raise _RefusedError(Kind.LAYOUT, f"{name} is {value!r}, expected a number")
    return float(value)


def _worst_missing(pixels: Pixels) -> float:
    """Return the fraction of pixels without data in the worst band, if it is low enough.

    Exact zeros are refused: the service writes them where it has no image, and earlier tools kept them. A file is taken
    byte for byte, so they would be measured and trained on as a sky without noise.
    """
    if np.isinf(pixels).any():
        raise _RefusedError(Kind.QUALITY, "holds infinite values")
    n_zero = int((pixels == 0).sum())
    if n_zero:
        raise _RefusedError(Kind.QUALITY, f"{n_zero} pixels are exactly 0, not NaN: no data there; make it again")
    missing = np.isnan(pixels)
    fraction = missing.mean(axis=(0, 1))
    is_near = np.array([not centre_has_data(pixels[..., index : index + 1]) for index in range(len(BANDS))])
    reason = reject_reason(fraction, is_near)
    if reason is not None:
        raise _RefusedError(Kind.QUALITY, reason)
    return float(fraction.max())
