"""The rules of a draw, and what its SQL takes of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from db.config import NAME_PATTERN, StageConfig
from etl.draw.keys import KEY_RULE

Finite = Annotated[float, Field(allow_inf_nan=False)]
N_MASKBITS = 31


class ConfuserRules(StageConfig):
    """What makes a galaxy a hard confuser (pool N2), in the order in which a galaxy of several kinds is assigned."""

    ring_sersic_min: Finite = 4.0
    ring_flux_r_min: Finite = 5.0
    edge_on_ellipticity_min: Finite = 0.50
    edge_on_shape_r_min_arcsec: Finite = 0.6
    large_shape_r_min_arcsec: Finite = 2.0
    large_flux_r_min: Finite = 3.0
    blue_g_minus_r_max: Finite = 0.4
    blue_mag_r_max: Finite = 20.5


class DrawConfig(StageConfig):
    """All rules of a draw; magnitudes are AB and not dereddened."""

    name: str = Field(default="default", pattern=NAME_PATTERN)
    survey: str | None = None
    """dr10 or mock; None: the one survey that is loaded."""
    seed: int = Field(default=42, ge=0, lt=2**31)
    negatives_per_positive: int = Field(default=100, ge=1, le=100_000)
    n2_fraction: float = Field(default=0.15, ge=0, le=1, allow_inf_nan=False)
    mag_z_max: float = Field(default=20.0, gt=0, le=30, allow_inf_nan=False)
    maskbits_clear: tuple[int, ...] = (1, 5, 6, 7, 11, 12, 13)
    dec_min_deg: float = Field(default=-90.0, ge=-90, le=90, allow_inf_nan=False)
    dec_max_deg: float = Field(default=34.0, ge=-90, le=90, allow_inf_nan=False)
    """The footprint that both classes share: candidates north of it lie outside DR10-south."""
    tier_weights: dict[str, float] = {"A": 1.0, "B": 0.5}  # noqa: RUF012 - pydantic copies defaults
    confusers: ConfuserRules = ConfuserRules()
    key_rule: Literal["hashint8"] = KEY_RULE
    """How galaxies are ordered (`etl.draw.keys`); here, so that a draw's stored rules say it."""

    @field_validator("maskbits_clear")
    @classmethod
    def _bits_exist(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [bit for bit in bits if not 0 <= bit < N_MASKBITS]
        if wrong:
            message = f"{wrong[0]} is no bit of MASKBITS (0 to {N_MASKBITS - 1})"
            raise ValueError(message)
        return bits

    @field_validator("tier_weights")
    @classmethod
    def _both_tiers(cls, weights: dict[str, float]) -> dict[str, float]:
        if set(weights) != {"A", "B"} or not all(0 < weight <= 1 for weight in weights.values()):
            message = f"{weights} must give tiers A and B a weight above 0 and at most 1"
            raise ValueError(message)
        return weights

    @model_validator(mode="after")
    def _footprint_is_some_sky(self) -> DrawConfig:
        if self.dec_min_deg >= self.dec_max_deg:
            message = f"dec_min_deg ({self.dec_min_deg:g}) must be less than dec_max_deg ({self.dec_max_deg:g})"
            raise ValueError(message)
        return self

    @property
    def n2_per_positive(self) -> int:
        """Hard confusers for each positive; the rest of `negatives_per_positive` is N1."""
        return round(self.negatives_per_positive * self.n2_fraction)

    def sql_parameters(self) -> dict[str, Any]:
        """Parameters of the statements of a pass that follow from the rules alone; fluxes in nanomaggies."""
        rules = self.confusers
        return {
            **rules.model_dump(exclude={"blue_g_minus_r_max", "blue_mag_r_max"}),
            "blue_flux_ratio_min": 10 ** (-0.4 * rules.blue_g_minus_r_max),
            "blue_flux_r_min": flux_nanomaggies(rules.blue_mag_r_max),
            "survey": self.survey,
            "flux_z_min": flux_nanomaggies(self.mag_z_max),
            "mask": sum(1 << bit for bit in set(self.maskbits_clear)),
            "dec_min_deg": self.dec_min_deg,
            "dec_max_deg": self.dec_max_deg,
        }


def flux_nanomaggies(mag_ab: float) -> float:
    """Flux in nanomaggies of an AB magnitude: 10^((22.5 - mag) / 2.5)."""
    return float(10 ** ((22.5 - mag_ab) / 2.5))
