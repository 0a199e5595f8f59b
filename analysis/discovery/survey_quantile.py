"""A quantile of the survey from a sample of it: objects weigh as many galaxies as they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.bootstrap import CellBootstrap, percentile_ends
from analysis.errors import AnalysisError

Floats = NDArray[np.float64]

ROUNDING = 1e-12
"""Relative error that sums of weights may have: a fraction that is reached exactly is reached."""


@dataclass(frozen=True)
class SurveySample:
    """Objects of the survey, each array of shape (n,): score, galaxies that it stands for, and sky cell."""

    score: Floats
    weight: Floats
    cell: NDArray[np.int64]

    def fraction_at_or_above(self, scores: Floats) -> Floats:
        """Estimate the fraction of the survey's galaxies that reach each of some scores."""
        order = np.argsort(self.score, kind="stable")
        below = np.concatenate([[0.0], np.cumsum(self.weight[order])])
        found = below[np.searchsorted(self.score[order], scores, side="left")]
        return np.asarray(np.clip((below[-1] - found) / below[-1], 0.0, 1.0))


@dataclass(frozen=True)
class SurveyCut:
    """The score where the survey's top fraction begins, its 95 % interval, and the objects that it rests on."""

    threshold: float
    threshold_lo: float
    threshold_hi: float
    n_sample: int
    n_effective: float
    n_survey: float
    n_above: int
    n_above_effective: float


def galaxies_stood_for(
    probability: Floats, kind: NDArray[np.str_], is_drawn: NDArray[np.bool_], is_eligible: NDArray[np.bool_]
) -> Floats:
    """Weigh objects back to the survey; shape (n,).

    A galaxy that a draw took with a probability stands for 1 / probability galaxies of its kind, itself among them, be
    it N1 or N2: both are one sample (Horvitz & Thompson 1952). Every other object was looked at in its own right and
    stands for itself. Those among them that the draw could have taken are part of what its members stand for, so
    these stand for so many fewer of that kind, though never for less than themselves. If the whole pool was looked at,
    all weigh 1.

    Parameters
    ----------
    probability
        Inclusion probability in (0, 1] where `is_drawn`; not read elsewhere.
    kind
        Galaxies of one kind have one probability.
    is_eligible
        Objects that the draw could have taken and did not.
    """
    weight = np.ones(len(kind))
    weight[is_drawn] = 1 / probability[is_drawn]
    _, number = np.unique(kind, return_inverse=True)
    stood_for = np.bincount(number, weight * is_drawn)
    share = np.bincount(number, is_eligible) / np.where(stood_for > 0, stood_for, np.inf)
    shrunk = weight * np.maximum(1 - share, 0)[number]
    return np.where(is_drawn, np.maximum(shrunk, 1.0), 1.0)


def effective_number(weight: Floats) -> float:
    """Objects of equal weight that would say as much: Kish (1965), sum(w)^2 / sum(w^2), at most n."""
    return min(float(weight.sum() ** 2 / (weight**2).sum()), float(len(weight)))


def survey_cut(sample: SurveySample, fraction: float, *, n_bootstrap: int, seed: int) -> SurveyCut:
    """Find the highest score that at least a fraction of the survey's galaxies reach.

    The interval is a percentile bootstrap by sky cell. A fraction smaller than what the highest object alone stands
    for gives that object's score: the sample can say no more, and `n_above` is 1.

    Raises
    ------
    AnalysisError
        When there is no object.
    """
    if not len(sample.score):
        raise AnalysisError("no object stands for the survey: score the cutouts of the model's draw first")
    order = np.argsort(-sample.score, kind="stable")
    score, weight = sample.score[order], sample.weight[order]
    total = float(weight.sum())
    place = int(np.searchsorted(np.cumsum(weight), fraction * total * (1 - ROUNDING)))
    threshold = float(score[min(place, len(score) - 1)])
    above = weight[score >= threshold]
    replicates = _replicates(SurveySample(score, weight, sample.cell[order]), fraction, n_bootstrap, seed)
    lo, hi = percentile_ends(replicates[np.newaxis])[0]
    return SurveyCut(
        threshold=threshold,
        threshold_lo=min(float(lo), threshold),
        threshold_hi=max(float(hi), threshold),
        n_sample=len(score),
        n_effective=effective_number(weight),
        n_survey=total,
        n_above=len(above),
        n_above_effective=effective_number(above),
    )


def _replicates(ordered: SurveySample, fraction: float, n_bootstrap: int, seed: int) -> Floats:
    """Thresholds of the replicates, from objects by falling score; only the top of each is summed up."""
    cells = CellBootstrap.draw(ordered.cell, n_bootstrap, seed)
    by_cell = np.bincount(cells.number, ordered.weight, minlength=cells.n_cells)
    thresholds = []
    n_top = int(np.searchsorted(np.cumsum(ordered.weight), 4 * fraction * ordered.weight.sum())) + 64
    for block in cells.blocks:
        wanted = fraction * (by_cell @ block.astype(np.float64)) * (1 - ROUNDING)
        while True:
            top = slice(0, n_top)
            reached = np.cumsum(ordered.weight[top, np.newaxis] * block[cells.number[top]], axis=0)
            if n_top >= len(ordered.score) or (reached[-1] >= wanted).all():
                break
            n_top *= 4
        place = np.minimum((reached < wanted).sum(axis=0), len(reached) - 1)
        thresholds.append(ordered.score[place])
    return np.concatenate(thresholds)
