"""Brier score, Brier skill and log loss of probabilities, with intervals by bootstrap over sky cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.bootstrap import CellBootstrap, percentile_ends
from analysis.reliability import brier, brier_skill, log_loss, log_losses

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A number and the ends of its 95 % interval; None where it has none."""

    value: float
    lo: float | None = None
    hi: float | None = None


def probability_scores(
    probability: Floats, labels: npt.NDArray[np.int64], resampled: CellBootstrap
) -> Mapping[str, Measured]:
    """Return brier, log_loss and, where both classes are there, brier_skill; percentile intervals.

    Parameters
    ----------
    probability, labels
        Shape (n,): predictions in [0, 1] and classes of the objects that `resampled` was drawn for.
    """
    rows = [
        (probability - labels) ** 2,
        log_losses(probability, labels),
        labels.astype(np.float64),
        np.ones(len(labels)),
    ]
    by_cell = np.stack([np.bincount(resampled.number, row, minlength=resampled.n_cells) for row in rows])
    totals = np.concatenate([by_cell @ block.astype(np.float64) for block in resampled.blocks], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error, loss, rate = totals[:3] / totals[3]
        skill = 1 - error / (rate * (1 - rate))
    found = {"brier": (brier(probability, labels), error), "log_loss": (log_loss(probability, labels), loss)}
    if 0 < labels.mean() < 1:
        found["brier_skill"] = (brier_skill(probability, labels), np.where(np.isfinite(skill), skill, np.nan))
    ends = percentile_ends(np.stack([replicates for _, replicates in found.values()]))
    return {
        name: Measured(value, float(np.fmin(lo, value)), float(np.fmax(hi, value)))
        for (name, (value, _)), (lo, hi) in zip(found.items(), ends, strict=True)
    }
