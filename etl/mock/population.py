"""What galaxies and stars are made of: fluxes, shapes and the structure that confuses a lens finder.

The deflectors and the `early` galaxies come from one and the same function, so that nothing but the arcs tells them
apart. Numbers without a reference are assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BANDS = ("g", "r", "i", "z", "W1", "W2", "W3", "W4")
"""Columns of `Galaxies.flux`."""

POOL_MIX = {"early": 0.58, "ring": 0.10, "edge_on": 0.10, "large": 0.07, "blue_clumpy": 0.09, "late": 0.06}
"""Shares of the pool galaxies; the first is like the deflectors, the middle four are the N2 classes of the draw."""

FAINTEST_Z = 19.95
"""The draw takes z < 20."""

# r - z and z of graded lens candidates in DR9/DR10 (Stein et al. 2022, arXiv:2110.00023): quantiles of z, median r - z.
_MAG_Z_SHARE, _MAG_Z = (0.0, 0.05, 0.25, 0.50, 0.75, 0.95, 1.0), (15.9, 16.54, 17.58, 18.41, 19.05, 19.71, FAINTEST_Z)
_RZ_AT_Z = ((16.2, 17.5, 18.0, 18.4, 19.0, 19.6), (0.86, 0.94, 1.02, 1.13, 1.27, 1.40))
_TYPES_EARLY = {"SER": 0.60, "DEV": 0.27, "REX": 0.13}


@dataclass(frozen=True)
class Galaxies:
    """Sources of one patch, one per array element.

    ``flux`` (n, 8) nanomaggies before extinction; ``shape_r`` half-light radius along the major axis, arcsec; ``q``
    axis ratio; ``pa_deg`` from north to east; ``blue_flux_r`` nanomaggies of a ring (``arms`` 0) or of spiral arms
    about ``blue_radius``, already counted in ``flux``; ``clumpy`` whether the light is broken into clumps; ``gradient``
    by which share the half-light radius in g exceeds that in r (`SIZE_SLOPE`), so that centres are redder.
    """

    role: npt.NDArray[np.str_]
    type: npt.NDArray[np.str_]
    flux: Floats
    shape_r: Floats
    q: Floats
    pa_deg: Floats
    sersic: Floats
    blue_flux_r: Floats
    blue_radius: Floats
    arms: npt.NDArray[np.int64]
    phase: Floats
    clumpy: npt.NDArray[np.bool_]
    gradient: Floats

    def __len__(self) -> int:
        return int(self.type.size)


_GRADIENT = (0.08, 0.11)
"""Mean and scatter; ellipticals are 10 to 15 % larger in g than in z (Vulcani et al. 2014, arXiv:1406.2330)."""

SIZE_SLOPE = {"g": 1.0, "r": 0.0, "z": -0.7}
"""How the colour gradient stretches the radius in each band."""

BLUE_COLOR = {"g": 0.25, "z": -0.20}
"""Magnitude in g and z minus that in r of rings, arms and their like."""


def join(parts: list[Galaxies]) -> Galaxies:
    """One table of several."""
    return Galaxies(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Galaxies)))


def early(n: int, role: str, rng: np.random.Generator) -> Galaxies:
    """Red ellipticals, as deflectors are: SER, DEV or REX."""
    mag_z = np.interp(rng.random(n), _MAG_Z_SHARE, _MAG_Z)
    r_z = np.interp(mag_z, *_RZ_AT_Z) + rng.normal(0, 0.14, n)
    # g - r of the same candidates: median 1.62, quartiles 1.34 and 1.81, 5 % below 0.81.
    g_r = np.minimum(1.72 - rng.gamma(1.2, 0.22, n) + rng.normal(0, 0.12, n), 2.1)
    kind = rng.choice(list(_TYPES_EARLY), size=n, p=list(_TYPES_EARLY.values()))
    size = 10 ** (0.06 - 0.19 * (mag_z - 18.4) + rng.normal(0, 0.15, n)) * np.where(kind == "REX", 0.55, 1.0)
    sersic = np.select([kind == "DEV", kind == "REX"], [4.0, 1.0], np.clip(rng.normal(4.2, 1.2, n), 1.5, 6.0))
    q = np.where(kind == "REX", 1.0, np.clip(rng.normal(0.78, 0.13, n), 0.42, 0.99))
    return _table(role, kind, _Colors(mag_z, g_r, r_z, rng.normal(1.17, 0.25, n)), (size, q, sersic), rng)


def pool(n: int, rng: np.random.Generator) -> Galaxies:
    """The galaxies that negatives are drawn from, mixed as `POOL_MIX` says."""
    counts = rng.multinomial(n, list(POOL_MIX.values()))
    makers: dict[str, Callable[[int, np.random.Generator], Galaxies]] = {
        "early": lambda k, r: early(k, "early", r),
        "ring": _ring,
        "edge_on": _edge_on,
        "large": _large,
        "blue_clumpy": _blue_clumpy,
        "late": _late,
    }
    made = join([makers[role](int(k), rng) for role, k in zip(POOL_MIX, counts, strict=True)])
    shuffled = rng.permutation(n)
    return Galaxies(*(getattr(made, field.name)[shuffled] for field in fields(Galaxies)))


def faint(n: int, role: str, rng: np.random.Generator) -> Galaxies:
    """Background galaxies and blue companions, r 21 to 24."""
    mag_r = 24.0 - rng.exponential(0.9, n).clip(0, 3.0)
    g_r, r_z = rng.normal(0.55, 0.30, n), rng.normal(0.50, 0.30, n)
    if role == "companion":
        mag_r, g_r, r_z = rng.uniform(20.8, 22.8, n), rng.normal(0.25, 0.2, n), rng.normal(0.25, 0.2, n)
    kind = rng.choice(["EXP", "REX", "DEV"], size=n, p=[0.35, 0.55, 0.10])
    size = 10 ** rng.normal(-0.35, 0.15, n)
    q = np.where(kind == "REX", 1.0, rng.uniform(0.35, 0.95, n))
    sersic = np.where(kind == "DEV", 4.0, 1.0)
    return _table(role, kind, _Colors(mag_r - r_z, g_r, r_z, rng.normal(0.5, 0.4, n)), (size, q, sersic), rng)


def stars(n: int, rng: np.random.Generator) -> Galaxies:
    """Point sources, r 16 to 22.5."""
    mag_r = 22.5 - rng.exponential(2.2, n).clip(0, 6.5)
    g_r = rng.uniform(0.2, 1.5, n)
    r_z = np.where(g_r < 1.3, 0.55 * g_r, 1.2) + rng.normal(0, 0.05, n)
    nothing = np.zeros(n)
    shape = (nothing, np.ones(n), nothing)
    return _table("star", np.full(n, "PSF"), _Colors(mag_r - r_z, g_r, r_z, rng.normal(-0.8, 0.2, n)), shape, rng)


@dataclass(frozen=True)
class _Colors:
    mag_z: Floats
    g_r: Floats
    r_z: Floats
    z_w1: Floats

    def flux(self) -> Floats:
        r = self.mag_z + self.r_z
        w1 = self.mag_z - self.z_w1
        mags = [r + self.g_r, r, r - 0.62 * self.r_z, self.mag_z, w1, w1 + 0.25, w1 - 0.6, w1 - 1.4]
        return np.asarray(10 ** (0.4 * (22.5 - np.stack(mags, axis=-1))))


def _table(
    role: str,
    kind: npt.NDArray[np.str_],
    colors: _Colors,
    shape: tuple[Floats, Floats, Floats],
    rng: np.random.Generator,
) -> Galaxies:
    n = kind.size
    return Galaxies(
        role=np.full(n, role, "U12"),
        type=kind.astype("U3"),
        flux=colors.flux(),
        shape_r=shape[0],
        q=shape[1],
        pa_deg=180 * rng.random(n),
        sersic=shape[2],
        blue_flux_r=np.zeros(n),
        blue_radius=np.ones(n),
        arms=np.zeros(n, np.int64),
        phase=2 * np.pi * rng.random(n),
        clumpy=np.zeros(n, bool),
        gradient=rng.normal(*_GRADIENT, n).clip(-0.1, 0.3) if role not in {"star", "faint"} else np.zeros(n),
    )


def _with_blue(made: Galaxies, share: Floats, radius: Floats, arms: npt.NDArray[np.int64]) -> Galaxies:
    """Add a blue ring or arms holding ``share`` of the galaxy's own r flux."""
    blue = share * made.flux[:, 1]
    flux = made.flux.copy()
    for column, color in ((0, BLUE_COLOR["g"]), (1, 0.0), (2, -0.1), (3, BLUE_COLOR["z"])):
        flux[:, column] += blue * 10 ** (-0.4 * color)
    return replace(made, flux=flux, blue_flux_r=blue, blue_radius=radius, arms=arms)


def _ring(n: int, rng: np.random.Generator) -> Galaxies:
    """Early galaxies of high concentration, half of them with a real blue ring or arms: the hardest confusers."""
    made = early(n, "ring", rng)
    high = np.where(made.type == "DEV", 4.0, np.clip(made.sersic, 4.05, 6.0))
    # Brighter than flux_r 5 nanomaggies whatever the dust does.
    brighter = np.maximum(1.0, 7.0 / made.flux[:, 1])[:, None]
    shape_r = np.clip(made.shape_r, 0.6, None)
    round_off = np.where(made.type == "REX", 0.85, made.q)
    kind = np.where(made.type == "REX", "DEV", made.type)
    sersic = np.where(kind == "DEV", 4.0, high)
    host = replace(made, type=kind, sersic=sersic, flux=made.flux * brighter, shape_r=shape_r, q=round_off)
    share = np.where(rng.random(n) < 0.5, rng.uniform(0.06, 0.25, n), 0.0)
    return _with_blue(host, share, rng.uniform(1.3, 3.0, n), rng.choice([0, 0, 2], size=n))


def _late_like(n: int, role: str, mag_z: Floats, g_r: Floats, rng: np.random.Generator, ser: float) -> Galaxies:
    kind = np.where(rng.random(n) < ser, "SER", "EXP")
    sersic = np.where(kind == "SER", np.clip(rng.normal(1.2, 0.3, n), 0.6, 2.5), 1.0)
    r_z = 0.25 + 0.45 * g_r + rng.normal(0, 0.08, n)
    size = 10 ** (0.12 - 0.15 * (mag_z - 18.4) + rng.normal(0, 0.13, n))
    q = rng.uniform(0.4, 0.95, n)
    return _table(role, kind, _Colors(mag_z, g_r, r_z, rng.normal(0.6, 0.2, n)), (size, q, sersic), rng)


def _late(n: int, rng: np.random.Generator) -> Galaxies:
    made = _late_like(n, "late", rng.uniform(17.2, FAINTEST_Z, n), rng.normal(0.75, 0.18, n), rng, ser=0.5)
    return _with_blue(made, rng.uniform(0.1, 0.5, n), 0.9 * made.shape_r + 0.3, np.full(n, 2))


def _edge_on(n: int, rng: np.random.Generator) -> Galaxies:
    """Thin discs: q 0.14 to 0.32, so that both 1 - q and (1 - q) / (1 + q) are at least 0.5."""
    made = _late_like(n, "edge_on", rng.uniform(17.2, 19.8, n), rng.normal(0.9, 0.2, n), rng, ser=0.3)
    return replace(made, q=rng.uniform(0.14, 0.32, n), shape_r=np.clip(1.3 * made.shape_r, 0.8, 5.0))


def _large(n: int, rng: np.random.Generator) -> Galaxies:
    """Half big ellipticals, half big spirals; shape_r at least 2.1 arcsec, flux_r at least 5 nanomaggies."""
    n_early = int(rng.binomial(n, 0.6))
    red = early(n_early, "large", rng)
    spiral = _late_like(
        n - n_early, "large", rng.uniform(16.8, 18.6, n - n_early), rng.normal(0.7, 0.15, n - n_early), rng, ser=0.3
    )
    spiral = _with_blue(
        spiral, rng.uniform(0.2, 0.6, len(spiral)), rng.uniform(2.0, 3.5, len(spiral)), np.full(len(spiral), 2)
    )
    made = join([red, spiral])
    kind = np.where(made.type == "REX", "SER", made.type)
    brighter = np.maximum(1.0, 5.0 / made.flux[:, 1])
    return replace(
        made,
        type=kind,
        flux=made.flux * brighter[:, None],
        blue_flux_r=made.blue_flux_r * brighter,
        shape_r=np.clip(made.shape_r, 2.1 + rng.random(n), 5.5),
    )


def _blue_clumpy(n: int, rng: np.random.Generator) -> Galaxies:
    """Star-forming discs: g - r well under 0.4 before dust, r brighter than 20.3."""
    made = _late_like(n, "blue_clumpy", rng.uniform(17.8, 19.7, n), rng.normal(0.15, 0.08, n), rng, ser=0.3)
    return replace(made, clumpy=np.ones(n, bool), shape_r=np.clip(made.shape_r, 0.8, 4.0))
