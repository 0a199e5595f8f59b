"""What is measured on one band of a stack of cutouts, all at once: the sets `v1` and `audit`.

Pixels without data (NaN) are left out of every statistic. A value is NaN where less than half of its region has data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import N_PIXELS

Stack = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
AnyFloats = npt.NDArray[np.floating]

MIN_VALID_FRACTION = 0.5
N_SECTORS = 8
BORDER_PX = 5
CENTRE = N_PIXELS // 2

V1_METRICS = (
    "core_brightness", "core_max", "annulus_brightness", "annulus_std", "outer_brightness", "radial_gradient", "mad",
    "std", "median", "mean", "percentile_1", "percentile_99", "clip_frac",
)  # fmt: skip
"""Names of the set `v1`, as in ``meta_<name>_r`` of the published cutouts and ``v1_<name>_r`` of the database."""


def measure_v1(stack: Stack) -> dict[str, Values]:
    """Measure the set of the published cutouts.

    Core is r <= 8 px, annulus 20 <= r <= 40 px, outer r >= 25 px (the region that reproduces the published values).

    Parameters
    ----------
    stack
        (n, 101, 101) float32, one band, nanomaggies.

    Returns
    -------
    dict
        Name to (n,) values, in the order of `V1_METRICS`.
    """
    image, core, annulus, outer = (_Region(stack, _discs(name)) for name in ("image", "core", "annulus", "outer"))
    median, core_median, outer_median = image.median(), core.median(), outer.median()
    low, high = image.percentile(1), image.percentile(99)
    values = (
        core_median, core.maximum(), annulus.median(), annulus.std(), outer_median, core_median - outer_median,
        image.mad(median), image.std(), median, image.mean(), low, high, image.fraction_outside(low, high),
    )  # fmt: skip
    return dict(zip(V1_METRICS, values, strict=True))


def measure_audit(stack: Stack) -> dict[str, Values]:
    """Measure the set that feeds the shortcut audit; shapes and units as in `measure_v1`, names without band."""
    regions = {name: _Region(stack, mask) for name, mask in _audit_masks().items()}
    sectors = np.stack([_Region(stack, mask).mean() for mask in _sectors()], axis=1)
    ring = regions["annulus"]
    core, outer = regions["core_4px"].mean(), regions["outer"].mean()
    image = regions["image"]
    return {
        "core_4px": core,
        "core_8px": regions["core_8px"].mean(),
        "core_12px": regions["core_12px"].mean(),
        "annulus_mean": ring.mean(),
        "annulus_max": ring.maximum(),
        "annulus_std": ring.std(),
        "outer": outer,
        "mad": image.mad(image.median()),
        "radial_gradient": core - outer,
        "asymmetry": sectors.std(axis=1),
        "border": regions["border"].mean(),
    }


@dataclass
class _Region:
    """The pixels of one region, (n, m), sorted when an order statistic is first asked for."""

    stack: Stack
    mask: Mask

    def __post_init__(self) -> None:
        flat = np.ascontiguousarray(self.stack).reshape(len(self.stack), -1)
        self.pixels = flat if self.mask.all() else np.take(flat, np.flatnonzero(self.mask), axis=1)
        self.valid = np.isfinite(self.pixels)
        self.n_valid = self.valid.sum(axis=1)
        self.all_valid = bool(self.valid.all())
        self.enough = self.n_valid >= MIN_VALID_FRACTION * self.pixels.shape[1]
        self._ordered: Stack | None = None

    def mean(self) -> Values:
        return self._checked(self._kept(self.pixels).sum(axis=1, dtype=np.float64) / np.maximum(self.n_valid, 1))

    def std(self) -> Values:
        offset = self._kept(self.pixels - self.mean()[:, None])
        return self._checked(np.sqrt((offset**2).sum(axis=1) / np.maximum(self.n_valid, 1)))

    def maximum(self) -> Values:
        return self._checked(self._kept(self.pixels, -np.inf).max(axis=1).astype(np.float64))

    def median(self) -> Values:
        return self.percentile(50)

    def percentile(self, percent: float) -> Values:
        """Linear interpolation between order statistics, as numpy's default."""
        if self._ordered is None:
            self._ordered = np.sort(self._kept(self.pixels, np.inf), axis=1)
        return self._checked(_percentile(self._ordered, self.n_valid, percent))

    def mad(self, median: Values) -> Values:
        distance = np.abs(self.pixels - median.astype(np.float32)[:, None])
        return self._checked(_percentile(np.sort(self._kept(distance, np.inf), axis=1), self.n_valid, 50))

    def fraction_outside(self, low: Values, high: Values) -> Values:
        outside = self.valid & ((self.pixels < low[:, None]) | (self.pixels > high[:, None]))
        return self._checked(outside.sum(axis=1) / np.maximum(self.n_valid, 1))

    def _kept(self, pixels: AnyFloats, instead: float = 0.0) -> AnyFloats:
        """Put a neutral value where there is no data.

        Reductions with a mask would be slower, and would give an image other last bits beside an incomplete one.
        """
        return pixels if self.all_valid else np.where(self.valid, pixels, pixels.dtype.type(instead))

    def _checked(self, values: Values) -> Values:
        return np.where(self.enough, values, np.nan)


def _percentile(ordered: Stack, n_valid: npt.NDArray[np.int64], percent: float) -> Values:
    place = percent / 100 * np.maximum(n_valid - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n_valid - 1, 0))
    row = np.arange(len(ordered))
    low, high = ordered[row, below].astype(np.float64), ordered[row, above].astype(np.float64)
    with np.errstate(invalid="ignore"):  # rows without any data are inf - inf; they become NaN
        return low + (high - low) * (place - below)


@cache
def _radius_px() -> Values:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - float(CENTRE)
    radius: Values = np.hypot(x, y)
    return radius


@cache
def _discs(name: str) -> Mask:
    r = _radius_px()
    return {"image": r >= 0, "core": r <= 8, "annulus": (r >= 20) & (r <= 40), "outer": r >= 25}[name]


@cache
def _audit_masks() -> dict[str, Mask]:
    r = _radius_px()
    border = np.ones((N_PIXELS, N_PIXELS), bool)
    border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    return {
        "image": r >= 0,
        "core_4px": r < 4,
        "core_8px": r < 8,
        "core_12px": r < 12,
        "annulus": (r >= 4) & (r < 16),
        "outer": (r >= 16) & (r < 28),
        "border": border,
    }


@cache
def _sectors() -> tuple[Mask, ...]:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - CENTRE
    sector = np.floor(np.arctan2(y, x) / (2 * np.pi) * N_SECTORS).astype(int) % N_SECTORS
    ring = _audit_masks()["annulus"]
    return tuple(ring & (sector == number) for number in range(N_SECTORS))
