"""Which published rows speak of one object.

One rule for all catalogs. A row farther than `RADIUS_ARCSEC` from every known lens and from every founder before it
founds a new lens at its own position. Then each row belongs to the lens nearest to it. So no two lenses of the ledger
are closer than the radius, chains of rows cannot grow, and the outcome depends on the order of the rows alone.

Five arcsec is the radius at which published tables are matched, and lenscat bears it out: pairs of its rows nearer
than that are one system in two papers, up to 4.7 arcsec apart, while the nearest two DESI candidates, the two
deflectors of one system, are 10.4 arcsec apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

RADIUS_ARCSEC = 5.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Assignment:
    """Where n rows belong, among known lenses (first) and new ones (after them).

    Attributes
    ----------
    founders
        Rows that found a new lens, ascending (m,).
    lens
        Lens of each row (n,): below n_known a known lens, from there on ``founders[lens - n_known]``.
    separation_arcsec
        Distance of each row to its lens (n,); 0 for a founder.
    is_ambiguous
        Whether several lenses lie within the radius of the row (n,).
    """

    founders: Ints
    lens: Ints
    separation_arcsec: Floats
    is_ambiguous: Bools


def assign(known: Floats, rows: Floats) -> Assignment:
    """Assign rows to known lenses or to lenses that they found.

    Parameters
    ----------
    known, rows
        Right ascension and declination, degrees, ICRS (n_known, 2) and (n, 2).
    """
    reach = _chord(RADIUS_ARCSEC)
    known_vectors, vectors = _unit_vectors(known), _unit_vectors(rows)
    candidates = np.flatnonzero(~_has_neighbour(known_vectors, vectors, reach))
    founders = candidates[_founders(vectors[candidates], reach)]
    lenses = np.concatenate([known_vectors, vectors[founders]])
    if not len(rows):
        nothing = np.empty(0, np.int64)
        return Assignment(nothing, nothing, np.empty(0), np.empty(0, np.bool_))
    distance, lens = cKDTree(lenses).query(vectors, k=[1, 2])
    separation = np.degrees(2 * np.arcsin(np.clip(distance[:, 0] / 2, 0, 1))) * 3600
    return Assignment(founders, lens[:, 0].astype(np.int64), separation, distance[:, 1] <= reach)


def _founders(vectors: Floats, reach: float) -> Bools:
    """Mark the rows with no founder before them within reach; a few rounds, each over all close pairs at once."""
    founder = np.zeros(len(vectors), np.bool_)
    if not len(vectors):
        return founder
    pairs = np.sort(cKDTree(vectors).query_pairs(reach, output_type="ndarray"), axis=1)
    open_rows = np.ones(len(vectors), np.bool_)
    while open_rows.any():
        pairs = pairs[open_rows[pairs].all(axis=1)]
        fresh = open_rows.copy()
        fresh[pairs[:, 1]] = False  # the later row of a pair waits for the earlier one
        founder |= fresh
        near_fresh = pairs[fresh[pairs].any(axis=1)]
        open_rows &= ~fresh
        open_rows[near_fresh.ravel()] = False
    return founder


def _has_neighbour(of: Floats, vectors: Floats, reach: float) -> Bools:
    if not len(of) or not len(vectors):
        return np.zeros(len(vectors), np.bool_)
    distance, _ = cKDTree(of).query(vectors)
    return np.asarray(distance <= reach, np.bool_)


def _unit_vectors(positions: Floats) -> Floats:
    ra, dec = np.radians(np.asarray(positions, np.float64).reshape(-1, 2)).T
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _chord(arcsec: float) -> float:
    """Straight-line distance on the unit sphere of an angle; a hair longer, so that the exact radius is within."""
    return float(2 * np.sin(np.radians(arcsec / 3600) / 2) * (1 + 1e-9))
