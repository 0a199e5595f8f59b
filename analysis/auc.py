"""Area under the ROC curve, with ties, weights, and a bootstrap by sky cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class AucInterval:
    """AUC and the ends of its 95 % interval."""

    value: float
    lo: float
    hi: float


def weighted_auc(scores: FloatArray, labels: NDArray[np.int_], weights: FloatArray) -> FloatArray:
    """Return the AUC of each row of weights: P(positive outscores negative), ties counted half.

    Parameters
    ----------
    scores, labels
        Shape (n,); labels are 0 or 1.
    weights
        Shape (m, n), not negative: one row for each AUC wanted.

    Returns
    -------
    numpy.ndarray
        Shape (m,); NaN where a class has no weight. Mann & Whitney (1947).
    """
    order = np.argsort(scores, kind="stable")
    ranked = weights[:, order]
    is_positive = labels[order] == 1
    _, starts = np.unique(scores[order], return_index=True)
    positives = np.add.reduceat(np.where(is_positive, ranked, 0.0), starts, axis=1)
    negatives = np.add.reduceat(np.where(is_positive, 0.0, ranked), starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        area: FloatArray = wins / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def auc(scores: FloatArray, labels: NDArray[np.int_]) -> float:
    """Return the AUC of one sample; NaN where a class is absent."""
    return float(weighted_auc(scores, labels, np.ones((1, len(scores))))[0])


def auc_by_cell(
    scores: FloatArray,
    labels: NDArray[np.int_],
    cells: NDArray[np.int_],
    *,
    n_replicates: int = 1000,
    seed: int = 0,
) -> AucInterval:
    """Return the AUC with a percentile bootstrap that resamples sky cells, not objects.

    Objects of one cell share conditions and neighbours; resampling them one by one would make the interval too narrow.
    """
    _, cell_of = np.unique(cells, return_inverse=True)
    n_cells = int(cell_of.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=n_replicates).astype(float)
    replicates = np.concatenate(
        [weighted_auc(scores, labels, part[:, cell_of]) for part in np.array_split(counts, max(1, n_replicates // 100))]
    )
    value = auc(scores, labels)
    lo, hi = np.nanquantile(replicates, [0.025, 0.975])
    return AucInterval(value, min(float(lo), value), max(float(hi), value))
