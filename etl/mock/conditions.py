"""Seeing, depth, extinction and number of exposures of one patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from etl.mock.config import ConditionsConfig
from etl.mock.light import moffat_noise_area

SURVEY_BANDS = ("g", "r", "i", "z")
"""Bands of the sweep's photometry; images exist in g, r, z."""

EXTINCTION = {"g": 3.214, "r": 2.165, "i": 1.592, "z": 1.211, "W1": 0.184, "W2": 0.113, "W3": 0.0241, "W4": 0.00910}
"""A / E(B-V) per band, the survey's own coefficients."""


@dataclass(frozen=True)
class Conditions:
    """What the telescope and the sky did to one patch; one value per band of `SURVEY_BANDS`.

    ``psf_fwhm`` in arcsec; ``psf_depth`` the inverse variance of a point source's flux (nanomaggies^-2), zero where
    ``nobs`` is; ``beta`` the Moffat exponent.
    """

    ebv: float
    psf_fwhm: dict[str, float]
    psf_depth: dict[str, float]
    nobs: dict[str, int]
    beta: dict[str, float]

    def transmission(self, band: str) -> float:
        """Share of the light that the Galaxy's dust lets through."""
        return float(10 ** (-0.4 * EXTINCTION[band] * self.ebv))

    def pixel_sigma(self, band: str) -> float:
        """Noise of one coadd pixel (nanomaggies) that makes a point source as uncertain as ``psf_depth`` says."""
        return float((self.psf_depth[band] * moffat_noise_area(self.psf_fwhm[band], self.beta[band])) ** -0.5)

    def galaxy_depth(self, band: str) -> float:
        """Inverse variance of the flux of a 0.45 arcsec exponential disc.

        The survey's own rows follow psf_depth / (1 + 1.3 / FWHM^2) within 3 % (a real Tractor row in three bands).
        """
        return self.psf_depth[band] / (1 + 1.3 / self.psf_fwhm[band] ** 2)


def draw_conditions(config: ConditionsConfig, rng: np.random.Generator) -> Conditions:
    """Draw one patch's conditions: published quantiles tied by a Gaussian copula, the rest as declared."""
    seeing, depth, ebv = (
        float(np.interp(u, config.quantiles, table))
        for u, table in zip(
            _correlated_uniforms(config, rng),
            (config.psf_fwhm_r_arcsec, config.psf_depth_r_mag, config.ebv_mag),
            strict=True,
        )
    )
    median = float(np.interp(0.5, config.quantiles, config.psf_depth_r_mag))
    fwhm, ivar, nobs = {"r": seeing}, {"r": _ivar(depth)}, {"r": _nobs(config, depth - median, rng)}
    for band in ("g", "i", "z"):
        fwhm[band] = seeing * config.psf_ratio[band] * float(rng.normal(1, config.psf_ratio_scatter))
        shift = float(rng.normal(0, config.depth_offset_scatter_mag))
        ivar[band] = _ivar(depth + config.depth_offset_mag[band] + shift)
        nobs[band] = _nobs(config, depth + shift - median, rng)
    if rng.random() > config.i_band_coverage:
        nobs["i"], ivar["i"] = 0, 0.0
    return Conditions(ebv, fwhm, ivar, nobs, {**config.moffat_beta, "i": config.moffat_beta["r"]})


def _correlated_uniforms(config: ConditionsConfig, rng: np.random.Generator) -> list[float]:
    rho = {name: 2 * np.sin(np.pi / 6 * value) for name, value in config.rank_correlation.items()}
    matrix = np.array(
        [
            [1, rho["psf_depth"], rho["psf_ebv"]],
            [rho["psf_depth"], 1, rho["depth_ebv"]],
            [rho["psf_ebv"], rho["depth_ebv"], 1],
        ]
    )
    return [float(u) for u in ndtr(np.linalg.cholesky(matrix) @ rng.normal(size=3))]


def _ivar(m5: float) -> float:
    return float((5 / 10 ** (0.4 * (22.5 - m5))) ** 2)


def _nobs(config: ConditionsConfig, deeper: float, rng: np.random.Generator) -> int:
    dex = config.nobs_slope_dex_per_mag * deeper + rng.normal(0, config.nobs_scatter_dex)
    return int(np.clip(np.rint(config.nobs_at_median_depth * 10**dex), 1, config.nobs_max))
