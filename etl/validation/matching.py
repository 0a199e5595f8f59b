"""Pair each positive with the most similar negative, so that what differs is not brightness or conditions.

One-to-one nearest neighbours without replacement: exact in Tractor type, within a caliper in (r magnitude, r seeing, r
depth), each in units of its caliper and no farther than 1 together. Pairs form in rounds: every free positive asks its
nearest free negative, which takes the nearest that asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

CALIPERS = {"mag_r": 0.25, "psf_fwhm_r_arcsec": 0.15, "depth_r": 0.30}
"""Largest difference of a pair: magnitudes, arcsec, magnitudes (5-sigma point-source depth)."""

_N_CANDIDATES = 64


@dataclass(frozen=True)
class Pairs:
    """Matched rows: positions of positives and of their negatives, of equal length."""

    positive: npt.NDArray[np.int64]
    negative: npt.NDArray[np.int64]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Positions of all matched rows, ascending."""
        return np.sort(np.concatenate([self.positive, self.negative]))


def match_classes(objects: pd.DataFrame) -> Pairs:
    """Pair positives with negatives; rows that lack a value of `CALIPERS` or a type stay alone.

    Parameters
    ----------
    objects
        Columns label (1 or 0), type, and those of `CALIPERS`.
    """
    scaled = np.stack([objects[name].to_numpy(float) / caliper for name, caliper in CALIPERS.items()], axis=1)
    is_usable = np.isfinite(scaled).all(axis=1) & objects["type"].notna().to_numpy()
    is_positive = (objects["label"] == 1).to_numpy(bool)
    kinds = objects["type"].to_numpy(object)
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for kind in sorted(set(kinds[is_usable])):
        here = is_usable & (kinds == kind)
        positives, negatives = np.flatnonzero(here & is_positive), np.flatnonzero(here & ~is_positive)
        if len(positives) and len(negatives):
            left, right = _pair(scaled[positives], scaled[negatives])
            found.append((positives[left], negatives[right]))
    empty = np.empty(0, np.int64)
    positive = np.concatenate([empty, *(left for left, _ in found)])
    negative = np.concatenate([empty, *(right for _, right in found)])
    return Pairs(positive, negative)


def _pair(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    from scipy.spatial import KDTree

    n_candidates = min(_N_CANDIDATES, len(right))
    distance, candidate = KDTree(right).query(left, k=np.arange(1, n_candidates + 1), distance_upper_bound=1.0)
    partner = np.full(len(left), -1, np.int64)
    is_free = np.ones(len(right) + 1, bool)
    is_free[-1] = False  # what the tree returns for "none this near"
    while True:
        can = is_free[candidate] & (partner < 0)[:, None]
        asking = np.flatnonzero(can.any(axis=1))
        if not len(asking):
            break
        choice = can[asking].argmax(axis=1)
        asked, how_far = candidate[asking, choice], distance[asking, choice]
        order = np.lexsort((asking, how_far, asked))
        first = order[np.r_[True, np.diff(asked[order]) > 0]]
        partner[asking[first]] = asked[first]
        is_free[asked[first]] = False
    matched = np.flatnonzero(partner >= 0)
    return matched, partner[matched]
