"""What is measured on one band of a stack of cutouts, all at once: the sets `v1` and `audit`.

Pixels without data (NaN) are left out of every statistic. A value is NaN where less than half of its region has data.
"""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import N_PIXELS

Stack = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
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
    return _v1(_Regions(stack))


def measure_audit(stack: Stack) -> dict[str, Values]:
    """Measure the set that feeds the shortcut audit; shapes and units as in `measure_v1`, names without band."""
    return _audit(_Regions(stack))


def measure_both(stack: Stack) -> tuple[dict[str, Values], dict[str, Values]]:
    """Measure both sets, `v1` and `audit`, with what they share done once."""
    regions = _Regions(stack)
    return _v1(regions), _audit(regions)


def _v1(regions: _Regions) -> dict[str, Values]:
    image, core, annulus, outer = (regions[name] for name in ("image", "v1_core", "v1_annulus", "v1_outer"))
    low, high = image.percentile(1), image.percentile(99)
    core_median, outer_median = core.median(), outer.median()
    values = (
        core_median, core.maximum(), annulus.median(), annulus.std(), outer_median, core_median - outer_median,
        image.mad(), image.std(), image.median(), image.mean(), low, high, image.fraction_outside(low, high),
    )  # fmt: skip
    return dict(zip(V1_METRICS, values, strict=True))


def _audit(regions: _Regions) -> dict[str, Values]:
    sectors = np.stack([regions[f"sector_{number}"].mean() for number in range(N_SECTORS)], axis=1)
    ring = regions["annulus"]
    core, outer = regions["core_4px"].mean(), regions["outer"].mean()
    return {
        "core_4px": core,
        "core_8px": regions["core_8px"].mean(),
        "core_12px": regions["core_12px"].mean(),
        "annulus_mean": ring.mean(),
        "annulus_max": ring.maximum(),
        "annulus_std": ring.std(),
        "outer": outer,
        "mad": regions["image"].mad(),
        "radial_gradient": core - outer,
        "asymmetry": sectors.std(axis=1),
        "border": regions["border"].mean(),
    }


class _Regions:
    """The regions of one stack, each taken out once."""

    def __init__(self, stack: Stack) -> None:
        self._flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
        self._all_valid = bool(np.isfinite(self._flat).all())
        self._taken: dict[str, _Region] = {}

    def __getitem__(self, name: str) -> _Region:
        if name not in self._taken:
            places = _places()[name]
            pixels = self._flat if len(places) == self._flat.shape[1] else np.take(self._flat, places, axis=1)
            self._taken[name] = _Region(pixels, self._all_valid)
        return self._taken[name]


class _Region:
    """The pixels of one region, (n, m); what takes long is worked out when it is first asked for."""

    def __init__(self, pixels: Stack, all_valid: bool) -> None:
        self.pixels, self.all_valid = pixels, all_valid
        self.valid = None if all_valid else np.isfinite(pixels)
        n, m = pixels.shape
        self.n_valid = np.full(n, m) if self.valid is None else self.valid.sum(axis=1)
        self.enough = self.n_valid >= MIN_VALID_FRACTION * m

    @cached_property
    def ordered(self) -> Stack:
        """The pixels of each image, ascending; those without data last."""
        return np.sort(self._kept(self.pixels, np.inf), axis=1)

    def mean(self) -> Values:
        return self._checked(self._kept(self.pixels).sum(axis=1, dtype=np.float64) / np.maximum(self.n_valid, 1))

    def std(self) -> Values:
        offset = self._kept(self.pixels - self.mean()[:, None])
        np.multiply(offset, offset, out=offset)
        return self._checked(np.sqrt(offset.sum(axis=1) / np.maximum(self.n_valid, 1)))

    def maximum(self) -> Values:
        return self._checked(self._kept(self.pixels, -np.inf).max(axis=1).astype(np.float64))

    def median(self) -> Values:
        if "ordered" in self.__dict__:
            return self.percentile(50)
        return self._checked(_median(self._kept(self.pixels, np.inf), self.n_valid))

    def percentile(self, percent: float) -> Values:
        """Linear interpolation between order statistics, as numpy's default."""
        return self._checked(percentile_of_known(self.ordered, self.n_valid, percent))

    def mad(self) -> Values:
        """Median absolute deviation, without 1.4826; the median is rounded to float32 before it is subtracted."""
        distance = np.abs(self.pixels - self.percentile(50).astype(np.float32)[:, None])
        return self._checked(_median(self._kept(distance, np.inf), self.n_valid))

    def fraction_outside(self, low: Values, high: Values) -> Values:
        n_outside = [
            np.searchsorted(row, below, "left") + n - np.searchsorted(row, above, "right")
            for row, n, below, above in zip(self.ordered, self.n_valid, low, high, strict=True)
        ]
        return self._checked(np.array(n_outside) / np.maximum(self.n_valid, 1))

    def _kept(self, pixels: AnyFloats, instead: float = 0.0) -> AnyFloats:
        """Put a neutral value where there is no data.

        Reductions with a mask would be slower, and would give an image other last bits beside an incomplete one.
        """
        return pixels if self.valid is None else np.where(self.valid, pixels, pixels.dtype.type(instead))

    def _checked(self, values: Values) -> Values:
        return np.where(self.enough, values, np.nan)


def _median(values: AnyFloats, n_valid: npt.NDArray[np.int64]) -> Values:
    """Median of each row; a partition is enough where all rows have as many values."""
    if (n_valid < values.shape[1]).any():
        return percentile_of_known(np.sort(values, axis=1), n_valid, 50)
    half = values.shape[1] // 2
    parted = np.partition(values, half, axis=1)
    upper = parted[:, half].astype(np.float64)
    if values.shape[1] % 2:
        return upper
    lower: Values = parted[:, :half].max(axis=1).astype(np.float64)
    return lower + (upper - lower) * 0.5


def percentile_of_known(ordered: AnyFloats, n_valid: npt.NDArray[np.int64], percent: float) -> Values:
    """Interpolate linearly between the order statistics of the last axis, as numpy does; NaN where nothing is known.

    Values are sorted, `n_valid` (the other axes) of them known and infinity behind them.
    """
    place = percent / 100 * np.maximum(n_valid - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n_valid - 1, 0))
    ranks = (below, above)
    low, high = (np.take_along_axis(ordered, rank[..., None], axis=-1)[..., 0].astype(float) for rank in ranks)
    with np.errstate(invalid="ignore"):  # without any data it is inf - inf
        return np.where(n_valid > 0, low + (high - low) * (place - below), np.nan)


@cache
def _radius_px() -> Values:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - float(CENTRE)
    radius: Values = np.hypot(x, y)
    return radius


@cache
def _places() -> dict[str, npt.NDArray[np.int64]]:
    """Positions of each region's pixels in a flattened image."""
    r = _radius_px()
    border = np.ones((N_PIXELS, N_PIXELS), bool)
    border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    ring = (r >= 4) & (r < 16)
    masks = {
        "image": r >= 0,
        "v1_core": r <= 8,
        "v1_annulus": (r >= 20) & (r <= 40),
        "v1_outer": r >= 25,
        "core_4px": r < 4,
        "core_8px": r < 8,
        "core_12px": r < 12,
        "annulus": ring,
        "outer": (r >= 16) & (r < 28),
        "border": border,
    }
    masks |= {f"sector_{number}": ring & (_sector() == number) for number in range(N_SECTORS)}
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def _sector() -> npt.NDArray[np.int64]:
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - CENTRE
    return np.asarray(np.floor(np.arctan2(y, x) / (2 * np.pi) * N_SECTORS).astype(int) % N_SECTORS)
