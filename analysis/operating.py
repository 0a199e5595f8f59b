"""Thresholds for target false-positive rates, and what lies at or above them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from analysis.scores import ScoredObjects
from db.models.sampling import CONFUSERS_OF_THE_POOL, NOBS_Z_BINS, STRATUM_TYPES

NO_STRATUM = "none"


@dataclass(frozen=True)
class Threshold:
    """A threshold for a target rate, and the negatives that chose it."""

    fpr_target: float
    threshold: float
    n_negatives: int
    n_exceedances: int


@dataclass(frozen=True)
class Count:
    """k of n objects of a sample at or above a threshold; a None axis is pooled over."""

    split: str
    sample: str
    nobs_z_bin: str | None
    type: str | None
    category: str | None
    k: int
    n: int


def choose_threshold(negative_scores: NDArray[np.float64], fpr_target: float) -> Threshold:
    """Return the lowest threshold at which at most ``floor(fpr_target * n)`` negatives are detections.

    A score at or above the threshold is a detection. With fewer negatives than 1 / fpr_target the threshold lies just
    above the highest of them, and `n_exceedances` is 0: an upper limit, not a measurement.
    """
    n = len(negative_scores)
    descending = np.sort(negative_scores)[::-1]
    allowed = int(np.floor(fpr_target * n))
    threshold = min(float(np.nextafter(descending[allowed], np.inf)), 1.0) if allowed < n else 0.0
    return Threshold(fpr_target, threshold, n, int((negative_scores >= threshold).sum()))


def count_all(objects: ScoredObjects, split: str, threshold: float) -> list[Count]:
    """Count every sample of one split: positives by stratum with pooled margins, negatives by pool and kind."""
    here = objects.where(objects.split == split)
    detected = here.score >= threshold
    return _count_positives(here, detected, split) + _count_negatives(here, detected, split)


def _count_positives(here: ScoredObjects, detected: NDArray[np.bool_], split: str) -> list[Count]:
    headline = (here.label == 1) & (here.discovery == "ground_imaging")
    samples = {
        "tier_a": headline & (here.tier == "A"),
        "tier_b": headline & (here.tier == "B"),
        "tier_ab": headline,
        "not_ground_imaging": (here.label == 1) & (here.discovery != "ground_imaging"),
    }
    bins = np.where(here.nobs_z_bin == "", NO_STRATUM, here.nobs_z_bin)
    types = np.where(here.stratum_type == "", NO_STRATUM, here.stratum_type)
    axes = list(product((*NOBS_Z_BINS, NO_STRATUM, None), (*STRATUM_TYPES, NO_STRATUM, None)))
    counts = []
    for sample, chosen in samples.items():
        for nobs_z_bin, type_ in axes:
            mask = chosen.copy()
            if nobs_z_bin is not None:
                mask &= bins == nobs_z_bin
            if type_ is not None:
                mask &= types == type_
            n = int(mask.sum())
            if n or (nobs_z_bin is None and type_ is None):
                counts.append(Count(split, sample, nobs_z_bin, type_, None, int((mask & detected).sum()), n))
    return counts


def _count_negatives(here: ScoredObjects, detected: NDArray[np.bool_], split: str) -> list[Count]:
    negative = here.label == 0
    parts: list[tuple[str, str | None, NDArray[np.bool_]]] = [
        ("negatives", None, negative),
        ("N1", None, here.pool == "N1"),
        ("N2", None, here.pool == "N2"),
    ]
    parts += [("N2", kind, (here.pool == "N2") & (here.category == kind)) for kind in CONFUSERS_OF_THE_POOL]
    return [
        Count(split, sample, None, None, kind, int((mask & detected).sum()), int(mask.sum()))
        for sample, kind, mask in parts
    ]
