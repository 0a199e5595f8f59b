"""The shortcuts that are planted in a clean sky, each said precisely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import N_PIXELS, PIXEL_SCALE_ARCSEC
from etl.cutouts.metrics import BORDER_PX
from tests.bench.gates.sky import HALF, Sky

BANDS = "grz"
NOBS_DEX_PER_MAG = 0.48
"""How the mock's number of exposures grows with depth (etl/mock/conditions.yaml)."""

CORE_PX = 4
_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))

Spoil = Callable[[Sky, np.random.Generator], Sky]


@dataclass(frozen=True)
class Plant:
    """One planted shortcut; `changed` says of which class the pixels are no longer those of the clean sky."""

    key: str
    what: str
    is_of_the_issue: bool
    changed: int | None
    spoil: Spoil


def deeper(magnitudes: float) -> Spoil:
    """White noise on the negatives, in all bands, so that positives are deeper by so much and no column says so."""

    def spoil(sky: Sky, rng: np.random.Generator) -> Sky:
        is_negative = _is(sky, 0)
        scale = np.sqrt(10 ** (0.8 * magnitudes) - 1) * sky.sigma[is_negative]
        pixels = sky.pixels.copy()
        noise = rng.standard_normal(pixels[is_negative].shape, np.float32)
        pixels[is_negative] += noise * scale.astype(np.float32)[:, None, None, :]
        return replace(sky, pixels=pixels)

    return spoil


def deeper_recorded(magnitudes: float, *, with_exposures: bool) -> Spoil:
    """The same noise, and the negatives' depths say so; with exposures, their nobs follow as on the mock sky."""

    def spoil(sky: Sky, rng: np.random.Generator) -> Sky:
        spoilt = deeper(magnitudes)(sky, rng)
        objects, is_negative = sky.objects.copy(), _is(sky, 0)
        for band in BANDS:
            objects.loc[is_negative, f"depth_{band}"] -= magnitudes
            if with_exposures:
                fewer = objects.loc[is_negative, f"nobs_{band}"] * 10 ** (-NOBS_DEX_PER_MAG * magnitudes)
                objects.loc[is_negative, f"nobs_{band}"] = np.clip(np.rint(fewer), 1, None)
        return replace(spoilt, objects=objects)

    return spoil


def brighter_core(share: float) -> Spoil:
    """Light in the shape of the PSF on the positives' centres, which raises the mean of r < 4 px by `share`."""

    def spoil(sky: Sky, rng: np.random.Generator) -> Sky:
        del rng
        is_positive = _is(sky, 1)
        y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - HALF
        radius2 = (x**2 + y**2).astype(float)
        # All bands have the shape of r; a candidate without a match has none, and gets the median.
        fwhm = sky.objects["psf_fwhm_r_arcsec"].fillna(sky.objects["psf_fwhm_r_arcsec"].median())
        sigma_px = fwhm.to_numpy(float)[is_positive] / PIXEL_SCALE_ARCSEC / _FWHM_PER_SIGMA
        shape = np.exp(-0.5 * radius2 / sigma_px[:, None, None] ** 2)
        core = radius2 < CORE_PX**2
        pixels = sky.pixels.copy()
        light = share * np.nanmean(pixels[is_positive][:, core], axis=1)
        unit = shape / shape[:, core].mean(axis=1)[:, None, None]
        pixels[is_positive] += (unit[..., None] * light[:, None, None, :]).astype(np.float32)
        return replace(sky, pixels=pixels)

    return spoil


def more_exposures(factor: float) -> Spoil:
    """The positives' nobs in g, r and z times a factor, rounded; nothing else follows."""

    def spoil(sky: Sky, rng: np.random.Generator) -> Sky:
        del rng
        objects, is_positive = sky.objects.copy(), _is(sky, 1)
        for band in BANDS:
            more = np.rint(objects.loc[is_positive, f"nobs_{band}"] * factor)
            objects.loc[is_positive, f"nobs_{band}"] = more
        return replace(sky, objects=objects)

    return spoil


def border_offset(n_sigma: float) -> Spoil:
    """A constant on the outermost 5 px of the positives, in all bands, in units of the noise of one pixel."""

    def spoil(sky: Sky, rng: np.random.Generator) -> Sky:
        del rng
        is_positive = _is(sky, 1)
        border = np.ones((N_PIXELS, N_PIXELS, 1), np.float32)
        border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = 0
        pixels = sky.pixels.copy()
        pixels[is_positive] += np.float32(n_sigma) * sky.sigma[is_positive][:, None, None, :] * border
        return replace(sky, pixels=pixels)

    return spoil


def nothing(sky: Sky, rng: np.random.Generator) -> Sky:
    """The clean sky."""
    del rng
    return sky


PLANTS = (
    Plant("clean", "nothing", True, None, nothing),
    Plant("deeper_0.30", "positives deeper by 0.3 mag, and no column says so", True, 0, deeper(0.30)),
    Plant(
        "deeper_0.30_recorded", "positives deeper by 0.3 mag, and the depths say so", True, 0,
        deeper_recorded(0.30, with_exposures=False),
    ),
    Plant("core_10", "positives with a core brighter by 10 %", True, 1, brighter_core(0.10)),
    Plant("nobs_1.50", "positives with 1.5 times the exposures", True, None, more_exposures(1.5)),
    Plant("border_0.20", "0.2 sigma on the positives' outermost 5 px", True, 1, border_offset(0.20)),
    Plant(
        "deeper_0.30_consistent", "positives deeper by 0.3 mag, and depths and exposures say so", False, 0,
        deeper_recorded(0.30, with_exposures=True),
    ),
    Plant("deeper_0.15", "positives deeper by 0.15 mag, and no column says so", False, 0, deeper(0.15)),
    Plant("core_05", "positives with a core brighter by 5 %", False, 1, brighter_core(0.05)),
    Plant("nobs_1.25", "positives with 1.25 times the exposures", False, None, more_exposures(1.25)),
    Plant("border_0.10", "0.1 sigma on the positives' outermost 5 px", False, 1, border_offset(0.10)),
)  # fmt: skip
"""The clean sky, what the issue asks for, and what is weaker or better hidden."""


def _is(sky: Sky, label: int) -> npt.NDArray[np.bool_]:
    return np.asarray((sky.objects["label"] == label).to_numpy(bool))
