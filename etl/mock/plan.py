"""Which patches of sky are rendered: one brick per chosen candidate or close group, none overlapping."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from etl.mock.candidates import Candidates
from etl.mock.config import SkyConfig
from etl.mock.errors import MockSkyError
from etl.mock.tangent import PIXEL_ARCSEC, Tangent

FIRST_BRICK_ID = 700_001
"""Above the survey's last brick (662,174) and below 2^20, so that no ls_id collides."""

LENS_MARGIN_PIXELS = 60
"""A candidate lies at least this far from its patch's edge, so that its cutout is whole."""

_LINK_ARCSEC = 40.0
_TRIALS = 200


@dataclass(frozen=True)
class Patch:
    """One mock brick and the candidates near it.

    ``lens_*`` are the candidates rendered inside it; ``avoid_ra`` and ``avoid_dec`` every candidate within reach of
    its galaxies, rendered or not. ``key`` seeds its random numbers.
    """

    brickname: str
    brickid: int
    key: int
    tangent: Tangent
    lens_name: tuple[str, ...]
    lens_ra: tuple[float, ...]
    lens_dec: tuple[float, ...]
    lens_tier: tuple[str, ...]
    avoid_ra: tuple[float, ...]
    avoid_dec: tuple[float, ...]


def plan_patches(candidates: Candidates, config: SkyConfig) -> list[Patch]:
    """Choose patches, deterministically by the candidates' names: tier A first, then tier B up to the number asked for.

    A candidate that falls inside a chosen patch is rendered there; a tier B candidate whose patch would overlap
    another is passed over, a tier A one has its patch shifted until it fits.

    Raises
    ------
    MockSkyError
        When no candidate lies at the declinations asked for, or two tier A patches cannot be kept apart.
    """
    inside = np.flatnonzero(candidates.dec < config.dec_max_deg)
    if not inside.size:
        raise MockSkyError(
            f"mock sky: none of {candidates.dec.size} candidates lies at dec < {config.dec_max_deg:g}; "
            "load the DESI candidates or raise dec_max_deg"
        )
    planner = _Planner(candidates, config)
    hashes = np.array([_hash(candidates, int(i)) for i in inside], np.uint64)
    order = inside[np.lexsort((hashes, candidates.tier[inside] != "A"))]
    wanted = {"A": config.n_tier_a if config.n_tier_a is not None else order.size, "B": config.n_tier_b}
    for index in order:
        if planner.count(candidates.tier[index]) < wanted[str(candidates.tier[index])]:
            planner.add(int(index))
    return planner.patches()


def _hash(candidates: Candidates, index: int) -> int:
    text = f"{candidates.name[index]} {candidates.ra[index]:.6f} {candidates.dec[index]:.6f}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _unit(ra: npt.ArrayLike, dec: npt.ArrayLike) -> npt.NDArray[np.float64]:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


class _Planner:
    """The patches chosen so far."""

    def __init__(self, candidates: Candidates, config: SkyConfig) -> None:
        self.candidates = candidates
        self.side = config.patch_pixels
        self.unit = _unit(candidates.ra, candidates.dec)
        self.tree = cKDTree(self.unit)
        self.centres: list[tuple[float, float]] = []
        self.members: list[list[int]] = []
        self.keys: list[int] = []
        self.taken: set[int] = set()
        self.tally = {"A": 0, "B": 0}

    def count(self, tier: str) -> int:
        return self.tally[str(tier)]

    def add(self, index: int) -> None:
        if index in self.taken:
            return
        key = _hash(self.candidates, index)
        rng = np.random.default_rng(key)
        group = self._near(self.unit[index], _LINK_ARCSEC)
        for wanted in [group, [index]] if len(group) > 1 else [[index]]:
            for _ in range(_TRIALS):
                tangent = self._throw(wanted, rng)
                members = self._rendered(tangent, wanted)
                if members is not None and not self._overlaps(tangent):
                    self._keep(tangent, members, key)
                    return
        if self.candidates.tier[index] == "A":
            raise MockSkyError(
                f"mock sky: no patch of {self.side} pixels around {self.candidates.name[index]} stays clear of its "
                "neighbours; choose a smaller patch_pixels"
            )

    def _near(self, unit: npt.NDArray[np.float64], arcsec: float) -> list[int]:
        return sorted(self.tree.query_ball_point(unit, 2 * np.sin(np.radians(arcsec / 3600) / 2)))

    def _throw(self, wanted: list[int], rng: np.random.Generator) -> Tangent:
        """Centre a patch so that the middle of the wanted candidates falls at a random place well inside it."""
        middle = self.unit[wanted].mean(axis=0)
        ra = float(np.degrees(np.arctan2(middle[1], middle[0])) % 360)
        dec = float(np.degrees(np.arctan2(middle[2], np.hypot(middle[0], middle[1]))))
        reach = self.side / 2 - LENS_MARGIN_PIXELS
        half = (self.side - 1) / 2
        dx, dy = rng.uniform(-reach, reach, 2)
        new_ra, new_dec = Tangent(ra, dec, self.side).to_sky(half + dx, half + dy)
        return Tangent(float(new_ra), float(new_dec), self.side)

    def _rendered(self, tangent: Tangent, wanted: list[int]) -> list[int] | None:
        """Candidates inside the patch; None when one sits on its rim or a wanted one is not well inside."""
        near = np.array(self._near(_unit(tangent.ra, tangent.dec), self.side * PIXEL_ARCSEC))
        x, y = tangent.to_pixels(self.candidates.ra[near], self.candidates.dec[near])
        depth = np.minimum(np.minimum(x, y), self.side - 1 - np.maximum(x, y))
        members = near[depth >= LENS_MARGIN_PIXELS - 1]
        on_rim = (depth < LENS_MARGIN_PIXELS - 1) & (depth > -LENS_MARGIN_PIXELS / 2)
        if on_rim.any() or not set(wanted) <= set(members) or self.taken & set(members):
            return None
        return [int(i) for i in members]

    def _overlaps(self, tangent: Tangent) -> bool:
        if not self.centres:
            return False
        ra, dec = np.array(self.centres).T
        x, y = tangent.to_pixels(ra, dec)
        half, limit = (self.side - 1) / 2, self.side + 4
        # Two north-up squares near a pole are turned against each other: allow for the turn with the diagonal.
        return bool(np.any(np.hypot(x - half, y - half) < limit * np.sqrt(2)))

    def _keep(self, tangent: Tangent, members: list[int], key: int) -> None:
        self.centres.append((tangent.ra, tangent.dec))
        self.members.append(members)
        self.keys.append(key)
        self.taken |= set(members)
        for member in members:
            self.tally[str(self.candidates.tier[member])] += 1

    def patches(self) -> list[Patch]:
        """The chosen patches in order of right ascension, named and numbered."""
        chosen = sorted(zip(self.centres, self.members, self.keys, strict=True))
        return [self._patch(number, centre, members, key) for number, (centre, members, key) in enumerate(chosen)]

    def _patch(self, number: int, centre: tuple[float, float], members: list[int], key: int) -> Patch:
        c = self.candidates
        near = self._near(_unit(*centre), self.side * PIXEL_ARCSEC)
        return Patch(
            brickname=f"{int(centre[0]):03d}x{number:04d}",
            brickid=FIRST_BRICK_ID + number,
            key=key,
            tangent=Tangent(*centre, self.side),
            lens_name=tuple(str(c.name[i]) for i in members),
            lens_ra=tuple(float(c.ra[i]) for i in members),
            lens_dec=tuple(float(c.dec[i]) for i in members),
            lens_tier=tuple(str(c.tier[i]) for i in members),
            avoid_ra=tuple(float(c.ra[i]) for i in near),
            avoid_dec=tuple(float(c.dec[i]) for i in near),
        )
