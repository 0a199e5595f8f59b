"""One brick is one unit of work: slice its targets, judge them, write their files, and say what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.cutouts.coadd import HALF, BrickPosition, slice_brick
from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC, Cutout, MetaValue, Pixels, write_cutout
from etl.cutouts.metrics import measure_v1
from etl.errors import CoaddError
from etl.storage import open_store

MAX_NAN_FRACTION = 0.05
CENTRE_PX = 8
"""No pixel this near to the centre may lack data."""

PIPELINE_VERSION = "1.0.0"
"""Version of the layout and the meanings of `meta_*`."""


@dataclass(frozen=True)
class Target:
    """One cutout to make."""

    index: int
    key: str
    stem: str
    label: int
    ra: float
    dec: float
    tier: str
    weight: float
    nobs_z: int
    match_type: str


@dataclass(frozen=True)
class Places:
    """Where coadds are read and cutouts written."""

    coadds: str
    store: str
    endpoint_url: str | None
    layer: str


@dataclass(frozen=True)
class Made:
    """One cutout that was made or rejected."""

    index: int
    uri: str | None
    sha256: str | None
    n_bytes: int | None
    nan_fraction: float
    status: str
    reject_reason: str | None


@dataclass(frozen=True)
class BrickResult:
    """What became of the targets of one brick; `error` says why nothing did."""

    brickname: str
    made: tuple[Made, ...]
    error: str | None = None


def cut_brick(places: Places, brickname: str, targets: Sequence[Target]) -> BrickResult:
    """Make all cutouts of one brick; a brick whose files are missing or broken is reported, not raised.

    Raises
    ------
    StorageError
        When the store of cutouts refuses.
    """
    coadds = open_store(places.coadds, places.endpoint_url)
    position = BrickPosition(brickname, np.array([t.ra for t in targets]), np.array([t.dec for t in targets]))
    try:
        stack = slice_brick(coadds, position)
    except CoaddError as exc:
        return BrickResult(brickname, (), str(exc))
    missing = np.isnan(stack)
    nan_fraction = missing.mean(axis=(1, 2))
    is_near_centre: npt.NDArray[np.bool_] = np.asarray(missing[:, _centre()].any(axis=1))
    metrics = measure_v1(stack[..., BANDS.index("r")])
    store = open_store(places.store, places.endpoint_url)
    made = []
    for i, target in enumerate(targets):
        worst = float(nan_fraction[i].max())
        reason = reject_reason(nan_fraction[i], is_near_centre[i])
        if reason is not None:
            made.append(Made(target.index, None, None, None, worst, "rejected", reason))
            continue
        meta = _meta(target, brickname, places.layer, missing[i])
        meta |= {f"meta_{name}_r": float(values[i]) for name, values in metrics.items()}
        data = write_cutout(Cutout(stack[i], meta | {"meta_quality_ok": True}))
        uri = store.put_bytes(target.key, data)
        status = "partial" if worst > 0 else "ok"
        made.append(Made(target.index, uri, hashlib.sha256(data).hexdigest(), len(data), worst, status, None))
    return BrickResult(brickname, tuple(made))


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


def _meta(target: Target, brickname: str, layer: str, missing: npt.NDArray[np.bool_]) -> dict[str, MetaValue]:
    """Scalars of the published layout; no time, since the same pixels must give the same bytes."""
    counts = missing.sum(axis=(0, 1))
    return {
        "meta_galaxy_id": target.stem,
        "meta_ra": target.ra,
        "meta_dec": target.dec,
        "meta_cutout_type": "positive" if target.label else "negative",
        "meta_size": N_PIXELS,
        "meta_pixel_scale": PIXEL_SCALE_ARCSEC,
        "meta_timestamp": "",
        "meta_pipeline_version": PIPELINE_VERSION,
        "meta_cutout_url": f"legacysurvey-{brickname}-image-{{{','.join(BANDS)}}}.fits.fz",
        "meta_layer": layer,
        "meta_bands_requested": BANDS,
        "meta_tier": target.tier,
        "meta_weight": target.weight,
        "meta_nobs_z": target.nobs_z,
        "meta_match_type": target.match_type,
        "meta_brickname": brickname,
        **{f"meta_nan_count_{band}": int(n) for band, n in zip(BANDS, counts, strict=True)},
        "meta_nan_frac": float(missing.mean()),
        "meta_central_nan_frac": float(missing[_centre()].mean()),
        **{f"meta_has_{band}": bool(n < N_PIXELS**2) for band, n in zip(BANDS, counts, strict=True)},
    }


def _centre() -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - HALF
    return np.asarray(np.hypot(x, y) <= CENTRE_PX)


def centre_has_data(pixels: Pixels) -> bool:
    """Say whether every pixel near the centre has data in all bands; shape (101, 101, 3)."""
    return bool(np.isfinite(pixels[_centre()]).all())
