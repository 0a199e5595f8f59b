"""The `meta_*` scalars of a cutout file: those of the published cutouts, in their order."""

from __future__ import annotations

from dataclasses import dataclass

from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC, MetaValue
from etl.cutouts.source import SourceVersion

PIPELINE_VERSION = "1.0.0"
"""Version of the layout and the meanings of `meta_*`."""


@dataclass(frozen=True)
class Target:
    """One cutout to make; `sha256` is what its file must have if a row says so already (the file was lost)."""

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
    sha256: str | None = None


@dataclass(frozen=True)
class Gaps:
    """How much of one cutout lacks data.

    `counts` is the number of pixels without data, (3,); `n_central` how many of those near the centre, all bands.
    """

    counts: tuple[int, int, int]
    n_central: int
    n_centre_pixels: int


def meta_of(target: Target, brickname: str, layer: str, source: SourceVersion, gaps: Gaps) -> dict[str, MetaValue]:
    """Return the scalars of one cutout; no time, since the same pixels must give the same bytes."""
    is_coadd = source.kind == "coadd"
    return {
        "meta_galaxy_id": target.stem,
        "meta_ra": target.ra,
        "meta_dec": target.dec,
        "meta_cutout_type": "positive" if target.label else "negative",
        "meta_size": N_PIXELS,
        "meta_pixel_scale": PIXEL_SCALE_ARCSEC,
        "meta_timestamp": "",
        "meta_pipeline_version": PIPELINE_VERSION,
        "meta_cutout_url": f"legacysurvey-{brickname}-image-{{{','.join(BANDS)}}}.fits.fz" if is_coadd else source.uri,
        "meta_layer": layer,
        "meta_bands_requested": BANDS,
        "meta_tier": target.tier,
        "meta_weight": target.weight,
        "meta_nobs_z": target.nobs_z,
        "meta_match_type": target.match_type,
        "meta_brickname": brickname,
        **{f"meta_nan_count_{band}": n for band, n in zip(BANDS, gaps.counts, strict=True)},
        "meta_nan_frac": sum(gaps.counts) / (len(BANDS) * N_PIXELS**2),
        "meta_central_nan_frac": gaps.n_central / gaps.n_centre_pixels,
        **{f"meta_has_{band}": n < N_PIXELS**2 for band, n in zip(BANDS, gaps.counts, strict=True)},
    }
