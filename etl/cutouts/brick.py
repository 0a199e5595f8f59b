"""One brick is one unit of work: take its targets from a source of pixels, judge them, write their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import BANDS, N_PIXELS, Cutout, Pixels, write_cutout
from etl.cutouts.meta import Gaps, Target, meta_of
from etl.cutouts.metrics import measure_v1
from etl.cutouts.source import Conditions, PixelSource, Positions, Sliced, SourceVersion
from etl.errors import CoaddError
from etl.storage import LocalStore, Store, open_store

MAX_NAN_FRACTION = 0.05
CENTRE_PX = 8
"""No pixel this near to the centre may lack data."""

_SLAB = 64
"""Cutouts that are judged and measured at once."""

_N_AT_ONCE = 16
"""Files written at once to a store that answers over a network."""

Values = tuple[float, ...]


@dataclass(frozen=True)
class Places:
    """Where cutouts are written, what imaging layer they are of, and what version of the set they belong to."""

    store: str
    endpoint_url: str | None
    layer: str
    version: str


@dataclass(frozen=True)
class Piece:
    """The targets of one brick, or some of them.

    `recorded` are the states, by address, of the sources that this version of the cutouts has been cut from so far.
    """

    brickname: str
    targets: tuple[Target, ...]
    recorded: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Made:
    """One cutout that was made or rejected.

    `conditions` are PSF FWHM, depth and number of exposures in g, r, z, NaN where the source does not know them.
    """

    index: int
    uri: str | None
    sha256: str | None
    n_bytes: int | None
    nan_fraction: float
    status: str
    reject_reason: str | None
    sources: tuple[SourceVersion, ...]
    conditions: Values


@dataclass(frozen=True)
class BrickResult:
    """What became of the targets of a piece; `failures` says why some have no cutout this time."""

    n_targets: int
    made: tuple[Made, ...]
    failures: tuple[str, ...]


def cut_brick(source: PixelSource, places: Places, piece: Piece) -> BrickResult:
    """Make all cutouts of a piece; what a source cannot give is reported, not raised.

    A target of which a row says what its file holds gets that file back, or none.

    Raises
    ------
    StorageError
        When the place of the pixels, or the store of cutouts, refuses.
    """
    targets = piece.targets
    positions = Positions(piece.brickname, np.array([t.ra for t in targets]), np.array([t.dec for t in targets]))
    try:
        sliced = source.slice(positions)
    except CoaddError as exc:
        return BrickResult(len(targets), (), (str(exc),) * len(targets))
    reasons = [
        failure or _changed(piece, sources, places.version)
        for failure, sources in zip(sliced.failures, sliced.sources, strict=True)
    ]
    chosen = [i for i, reason in enumerate(reasons) if reason is None]
    made: list[Made] = []
    failures = [reason for reason in reasons if reason is not None]
    for outcome in write_cutouts(places, piece, sliced, chosen):
        if isinstance(outcome, Made):
            made.append(outcome)
        else:
            failures.append(outcome)
    return BrickResult(len(targets), tuple(made), tuple(failures))


def write_cutouts(places: Places, piece: Piece, sliced: Sliced, chosen: list[int]) -> Iterator[Made | str]:
    """Judge and write some of the cutouts that a source gave; give what became of each, or why it was refused."""
    store = open_store(places.store, places.endpoint_url)
    for first in range(0, len(chosen), _SLAB):
        images = list(_images(piece, sliced, chosen[first : first + _SLAB]))
        drafts = [_draft(image, places, piece.brickname, store) for image in images]
        _put(store, [(image.target.key, data) for image, (_, data) in zip(images, drafts, strict=True) if data])
        yield from (outcome for outcome, _ in drafts)


@dataclass(frozen=True)
class _Image:
    """One cutout as its source gave it, and what was measured on it."""

    target: Target
    pixels: Pixels
    gaps: Gaps
    metrics: dict[str, float]
    sources: tuple[SourceVersion, ...]
    conditions: Values


def _images(piece: Piece, sliced: Sliced, slab: list[int]) -> Iterator[_Image]:
    pixels = sliced.pixels if len(slab) == len(sliced.pixels) else sliced.pixels[slab]
    metrics = measure_v1(pixels[..., BANDS.index("r")])
    conditions = _rows(sliced.conditions, slab)
    for place, (i, gaps) in enumerate(zip(slab, _gaps(pixels), strict=True)):
        measured = {f"meta_{name}_r": float(values[place]) for name, values in metrics.items()}
        yield _Image(piece.targets[i], pixels[place], gaps, measured, sliced.sources[i], conditions[place])


def _draft(image: _Image, places: Places, brickname: str, store: Store) -> tuple[Made | str, bytes | None]:
    """Decide what becomes of an image; with the bytes of its file if it gets one."""
    target, gaps = image.target, image.gaps
    worst = max(gaps.counts) / N_PIXELS**2
    origin = (image.sources, image.conditions)
    reason = _reason(gaps, image.pixels)
    if reason is not None:
        return Made(target.index, None, None, None, worst, "rejected", reason, *origin), None
    meta = meta_of(target, brickname, places.layer, image.sources[0], gaps)
    data = write_cutout(Cutout(image.pixels, meta | image.metrics | {"meta_quality_ok": True}))
    digest = hashlib.sha256(data).hexdigest()
    if target.sha256 not in (None, digest):
        return _other_bytes(target), None
    status = "partial" if worst > 0 else "ok"
    return Made(target.index, store.uri(target.key), digest, len(data), worst, status, None, *origin), data


def reject_reason(nan_fraction: npt.NDArray[np.float64], is_near_centre: npt.NDArray[np.bool_]) -> str | None:
    """Say why a cutout is of no use, from the fraction of NaN and NaN near the centre of each band; None if it is."""
    for fraction, is_near, band in zip(nan_fraction, is_near_centre, BANDS, strict=True):
        if fraction == 1:
            return f"no data in {band}"
        if fraction > MAX_NAN_FRACTION:
            return f"{fraction:.1%} of the pixels lack data in {band} (limit {MAX_NAN_FRACTION:.0%})"
        if is_near:
            return f"pixels within {CENTRE_PX} px of the centre lack data in {band}"
    return None


def centre_has_data(pixels: Pixels) -> bool:
    """Say whether every pixel near the centre has data in all bands; shape (101, 101, 3)."""
    return bool(np.isfinite(pixels[_centre()]).all())


def _changed(piece: Piece, sources: tuple[SourceVersion, ...], version: str) -> str | None:
    """Say which source is in another state than when cutouts of this version were cut from it."""
    for source in sources:
        if source.version not in piece.recorded.get(source.uri, (source.version,)):
            return changed_since(source.name, version)
    return None


def changed_since(brickname: str, version: str) -> str:
    """Return the refusal of a brick whose coadds are not what they were."""
    return (
        f"brick {brickname}: its coadds changed since {version} was cut: "
        "make them again as a new version with --version"
    )


def _other_bytes(target: Target) -> str:
    return (
        f"{target.key}: the file is lost, and cut again it would hold other bytes than were recorded: bring it back "
        "from a copy, or make a new version with --version"
    )


def _gaps(pixels: Pixels) -> Iterator[Gaps]:
    """Count what is missing, image by image; images without gaps, nearly all of them, are seen at one glance."""
    whole = Gaps((0, 0, 0), 0, int(_centre().sum()) * len(BANDS))
    has_gaps = np.isnan(pixels.reshape(len(pixels), -1).sum(axis=1))
    for image, has in zip(pixels, has_gaps.tolist(), strict=True):
        if not has:
            yield whole
            continue
        missing = np.isnan(image)
        g, r, z = (int(n) for n in missing.sum(axis=(0, 1)))
        yield Gaps((g, r, z), int(missing[_centre()].sum()), whole.n_centre_pixels)


def _reason(gaps: Gaps, pixels: Pixels) -> str | None:
    if not any(gaps.counts):
        return None
    is_near: npt.NDArray[np.bool_] = np.asarray(np.isnan(pixels[_centre()]).any(axis=0))
    return reject_reason(np.array(gaps.counts) / N_PIXELS**2, is_near)


def _rows(conditions: Conditions | None, slab: list[int]) -> list[Values]:
    if conditions is None:
        return [(float("nan"),) * 3 * len(BANDS)] * len(slab)
    columns = (conditions.psf_fwhm_arcsec, conditions.psfdepth, conditions.n_exposures)
    return [tuple(row) for row in np.concatenate(columns, axis=1)[slab].tolist()]


def _put(store: Store, files: list[tuple[str, bytes]]) -> None:
    """Write files, one by one into a folder, and several at once over a network."""
    if isinstance(store, LocalStore):
        for key, data in files:
            store.put_bytes(key, data)
        return
    with ThreadPoolExecutor(_N_AT_ONCE) as threads:
        list(threads.map(lambda file: store.put_bytes(*file), files))


@cache
def _centre() -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - N_PIXELS // 2
    return np.asarray(np.hypot(x, y) <= CENTRE_PX)
