"""What a mock sky is made from: its size, and the two declared tables (arcs, conditions)."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

from pydantic import Field

from db.config import StageConfig, load_config

FORMAT_VERSION = 1
"""Raised whenever the same configuration would give other pixels."""

CutNormal = tuple[float, float, float, float]
"""Mean, sigma, lower and upper cut of a normal distribution."""


class TierArcs(StageConfig):
    """Arcs of one tier of candidates."""

    theta_e_arcsec: CutNormal
    source_mag_r: CutNormal
    max_offset_theta_e: float = Field(gt=0, lt=1)


class SourceArcs(StageConfig):
    """The lensed source galaxy, in the source plane."""

    log10_radius_arcsec: CutNormal
    sersic: CutNormal
    axis_ratio: CutNormal
    color_g_r: CutNormal
    color_r_z: CutNormal


class LensArcs(StageConfig):
    """Mass of the deflector."""

    axis_ratio: CutNormal
    angle_scatter_deg: float
    shear: CutNormal


class ArcsConfig(StageConfig):
    """The declared distribution of arcs (``arcs.yaml``)."""

    tier_a: TierArcs
    tier_b: TierArcs
    source: SourceArcs
    lens: LensArcs


class ConditionsConfig(StageConfig):
    """The declared observing conditions (``conditions.yaml``, which says what is published and what assumed)."""

    quantiles: tuple[float, ...]
    psf_fwhm_r_arcsec: tuple[float, ...]
    psf_depth_r_mag: tuple[float, ...]
    ebv_mag: tuple[float, ...]
    rank_correlation: dict[str, float]
    psf_ratio: dict[str, float]
    psf_ratio_scatter: float
    depth_offset_mag: dict[str, float]
    depth_offset_scatter_mag: float
    nobs_at_median_depth: float
    nobs_slope_dex_per_mag: float
    nobs_scatter_dex: float
    nobs_max: int
    i_band_coverage: float
    moffat_beta: dict[str, float]
    exposure_s: dict[str, float]
    zero_point_mag: dict[str, float]
    masked_patch_share: float


def _declared(name: str) -> Path:
    return Path(str(resources.files("etl.mock") / name))


class SkyConfig(StageConfig):
    """Size and seed of a mock sky, with the declared tables it draws from."""

    seed: int = Field(default=42, ge=0)
    n_tier_a: int | None = Field(default=None, ge=0, description="None: all of them")
    n_tier_b: int = Field(default=660, ge=0)
    dec_max_deg: float = 34.0
    patch_pixels: int = Field(default=300, ge=240, le=3600)
    galaxies_per_patch: int = Field(default=9, ge=1, le=12)
    faint_per_patch: int = Field(default=32, ge=0)
    stars_per_patch: int = Field(default=3, ge=0)
    workers: int = Field(default=2, ge=1, description="Processes; does not change a pixel")
    arcs: ArcsConfig = Field(default_factory=lambda: load_config(ArcsConfig, _declared("arcs.yaml")))
    conditions: ConditionsConfig = Field(
        default_factory=lambda: load_config(ConditionsConfig, _declared("conditions.yaml"))
    )

    def sha256(self) -> str:
        """Digest of everything that decides the pixels, so without the number of processes."""
        body = self.model_dump(mode="json", exclude={"workers"}) | {"format_version": FORMAT_VERSION}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
