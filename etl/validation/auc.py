"""How well one number separates two classes: weighted AUC, and its interval by bootstrap over sky cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CHUNK_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class FoldedAuc:
    """AUC folded as max(AUC, 1 - AUC), and its 2.5 % and 97.5 % points, folded in the same direction."""

    value: float
    lo: float
    hi: float


def auc(values: Floats, is_positive: Bools, weights: Floats) -> Floats:
    """Return the AUC under each row of weights, ties counting half (Mann-Whitney).

    Parameters
    ----------
    values, is_positive
        (n,) a finite value and the class of each object.
    weights
        (m, n) weights of the objects.

    Returns
    -------
    array
        (m,) AUC; NaN where a class has no weight.
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    ordered, positive = weights[:, order], is_positive[order]
    n_positive = np.add.reduceat(ordered * positive, starts, axis=1)
    n_negative = np.add.reduceat(ordered * ~positive, starts, axis=1)
    below = np.cumsum(n_negative, axis=1) - 0.5 * n_negative
    total = n_positive.sum(axis=1) * n_negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Floats = (n_positive * below).sum(axis=1) / total
    return ratio


def cell_weights(cells: Ints, n_replicates: int, seed: int) -> Floats:
    """Draw (m, n) weights: how often each object's sky cell comes up when cells are drawn with replacement."""
    _, number = np.unique(cells, return_inverse=True)
    n_cells = int(number.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=n_replicates)
    return drawn[:, number].astype(np.float64)


def folded_auc(values: Floats, is_positive: Bools, cells: Ints, *, n_replicates: int, seed: int) -> FoldedAuc | None:
    """Fold the AUC of the objects with a finite value and bootstrap it by sky cell; None where a class is empty.

    Without replicates the interval is the value itself.
    """
    use = np.isfinite(values)
    values, is_positive, cells = values[use], is_positive[use], cells[use]
    if not is_positive.any() or is_positive.all():
        return None
    point = float(auc(values, is_positive, np.ones((1, len(values))))[0])
    if n_replicates == 0:
        folded = max(point, 1 - point)
        return FoldedAuc(folded, folded, folded)
    weights = cell_weights(cells, n_replicates, seed)
    step = max(1, _CHUNK_ELEMENTS // len(values))
    parts = [auc(values, is_positive, weights[start : start + step]) for start in range(0, n_replicates, step)]
    replicates = np.concatenate(parts)
    replicates = replicates[np.isfinite(replicates)]
    if point < 0.5:
        point, replicates = 1 - point, 1 - replicates
    lo, hi = np.percentile(replicates, [2.5, 97.5]) if len(replicates) else (point, point)
    return FoldedAuc(point, float(lo), float(hi))
