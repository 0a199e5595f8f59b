"""Where the galaxies of the benchmark's sky are: 5 x 5 degree boxes in a footprint like DR10's, and bricks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_SURVEY_ROWS = 114_000_000
N_SURVEY_BOXES = 1436
BOX_DEG = 5
BRICKS_PER_SIDE = 20
_SEED = 2026
# North pole of the Galaxy, ICRS degrees (IAU 1958, in J2000).
_POLE_RA, _POLE_DEC = 192.8595, 27.1283


@dataclass(frozen=True)
class Box:
    """One sweep file's patch of sky and how many rows it holds; `number` is unique and makes its bricks' numbers."""

    number: int
    ra: int
    dec: int
    n_rows: int

    @property
    def name(self) -> str:
        """File name as the survey gives it."""
        return f"sweep-{_corner(self.ra, self.dec)}-{_corner(self.ra + BOX_DEG, self.dec + BOX_DEG)}.fits"


@dataclass(frozen=True)
class Bricks:
    """The bricks of a box: arrays of one length; edges in degrees."""

    brickid: NDArray[np.int32]
    name: NDArray[np.bytes_]
    ra: NDArray[np.float64]
    ra_width: NDArray[np.float64]
    dec: NDArray[np.float64]


def boxes(n_rows: int) -> list[Box]:
    """Choose the boxes of a sky of `n_rows` galaxies, by name.

    Rows follow the box's area, its distance from the Milky Way (at its edge a box is only partly covered), a smooth
    variation and scatter. A sky with fewer rows than the survey has fewer boxes, chosen at random, of the same density.
    """
    ra, dec = (grid.ravel() for grid in np.meshgrid(np.arange(0, 360, BOX_DEG), np.arange(-75, 35, BOX_DEG)))
    rng = np.random.default_rng(_SEED)
    middle_ra, middle_dec = np.radians(ra + BOX_DEG / 2), np.radians(dec + BOX_DEG / 2)
    area = np.cos(middle_dec)
    coverage = np.clip((_galactic_latitude(middle_ra, middle_dec) - 10) / 12, 0.01, 1)
    smooth = 1 + 0.15 * np.sin(3 * middle_ra) * np.cos(2 * middle_dec)
    weight = area * coverage * smooth * rng.lognormal(0, 0.2, len(ra))
    survey = np.sort(np.argsort(-coverage * (1 + 1e-3 * rng.random(len(ra))))[:N_SURVEY_BOXES])
    n_boxes = min(N_SURVEY_BOXES, max(2, round(N_SURVEY_BOXES * n_rows / N_SURVEY_ROWS)))
    chosen = np.sort(rng.permutation(survey)[:n_boxes])
    edges = np.rint(np.cumsum(weight[chosen]) / weight[chosen].sum() * n_rows).astype(int)
    counts = np.diff(edges, prepend=0)
    made = [Box(int(i), int(ra[i]), int(dec[i]), int(n)) for i, n in zip(chosen, counts, strict=True)]
    return sorted(made, key=lambda box: box.name)


def bricks(box: Box) -> Bricks:
    """Divide a box into rows of 0.25 degrees and columns of about that; names follow from centres, as in the survey."""
    step = BOX_DEG / BRICKS_PER_SIDE
    rows = box.dec + step * np.arange(BRICKS_PER_SIDE)
    n_columns = np.maximum(1, np.rint(BRICKS_PER_SIDE * np.cos(np.radians(rows + step / 2)))).astype(int)
    row = np.repeat(np.arange(BRICKS_PER_SIDE), n_columns)
    column = np.concatenate([np.arange(n) for n in n_columns])
    width = BOX_DEG / n_columns[row]
    ra, dec = box.ra + column * width, rows[row]
    tenths_ra, tenths_dec = np.floor((ra + width / 2) * 10), np.floor(np.abs(dec + step / 2) * 10)
    sign = np.where(dec < 0, "m", "p")
    name = [f"{a:04.0f}{s}{d:03.0f}".encode() for a, s, d in zip(tenths_ra, sign, tenths_dec, strict=True)]
    number = box.number * BRICKS_PER_SIDE**2 + row * BRICKS_PER_SIDE + column + 1
    return Bricks(number.astype(np.int32), np.array(name, "S8"), ra, width, dec)


def _galactic_latitude(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the Galactic plane, degrees; positions in radians."""
    pole_ra, pole_dec = np.radians(_POLE_RA), np.radians(_POLE_DEC)
    sine = np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra - pole_ra)
    return np.degrees(np.abs(np.arcsin(sine)))


def _corner(ra: int, dec: int) -> str:
    return f"{ra:03d}{'m' if dec < 0 else 'p'}{abs(dec):03d}"
