"""Thresholds for target false-positive rates, and what lies at or above them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from analysis.evaluation.samples import NEGATIVES, held_out_samples, samples_of
from analysis.scores import ScoredObjects
from db.models.sampling import CONFUSER_CATEGORIES, NOBS_Z_BINS, STRATUM_TYPES

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


def count_all(here: ScoredObjects, threshold: float) -> list[Count]:
    """Count every sample of one split: positives by stratum with pooled margins, negatives by pool and kind."""
    samples = samples_of(here)
    positives = {name: mask for name, mask in samples.items() if name not in NEGATIVES}
    return _by_stratum(here, positives, threshold) + _by_kind(here, threshold)


def count_held_out(held: ScoredObjects, split: str, threshold: float) -> list[Count]:
    """Count held-out discoveries by stratum with pooled margins; nothing where there are none."""
    return _by_stratum(held, held_out_samples(held, split), threshold) if len(held) else []


def _by_stratum(here: ScoredObjects, samples: Mapping[str, NDArray[np.bool_]], threshold: float) -> list[Count]:
    detected = here.score >= threshold
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
                counts.append(Count(sample, nobs_z_bin, type_, None, int((mask & detected).sum()), n))
    return counts


def _by_kind(here: ScoredObjects, threshold: float) -> list[Count]:
    detected = here.score >= threshold
    parts: list[tuple[str, str | None, NDArray[np.bool_]]] = [
        (name, None, mask) for name, mask in samples_of(here).items() if name in NEGATIVES
    ]
    n2 = here.pool == "N2"
    parts += [("N2", kind, n2 & (here.category == kind)) for kind in CONFUSER_CATEGORIES]
    return [
        Count(sample, None, None, kind, int((mask & detected).sum()), int(mask.sum())) for sample, kind, mask in parts
    ]
