"""Reliability of probabilities: bins, expected calibration error, Brier score and log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from analysis.errors import AnalysisError
from training.calibrators import SMALLEST

Floats = npt.NDArray[np.float64]
Binning = Literal["equal_mass", "equal_width", "top_1_percent"]

BINNINGS: tuple[Binning, ...] = get_args(Binning)


@dataclass(frozen=True)
class ReliabilityBins:
    """Bins of predicted probability that hold objects, lowest first, each array of shape (n_bins,).

    `n` objects, `k` of them positive, mean prediction `mean_p`, lowest and highest prediction `p_lo` and `p_hi`
    (of equal-width bins: their edges).
    """

    n: npt.NDArray[np.int64]
    k: npt.NDArray[np.int64]
    mean_p: Floats
    p_lo: Floats
    p_hi: Floats

    def __len__(self) -> int:
        """Return the number of bins."""
        return len(self.n)


def reliability_bins(
    probability: npt.ArrayLike, labels: npt.ArrayLike, n_bins: int = 15, binning: Binning = "equal_mass"
) -> ReliabilityBins:
    """Sort predictions into bins and count the positives of each.

    Parameters
    ----------
    probability, labels
        (n,) predictions in [0, 1] and classes (0 or 1).
    n_bins
        Bins wanted. Fewer come back where predictions tie or, in equal-width bins, where none falls.
    binning
        ``equal_mass``: as many objects in each bin, as nearly as that goes. ``top_1_percent``: the same within the
        highest hundredth (rounded up). Equal predictions are never parted: a bin ends after all of those with its
        highest one, and the top hundredth begins with all of those with its lowest. ``equal_width``: [0, 1] in equal
        steps; a prediction on an edge belongs to the bin above.

    Raises
    ------
    AnalysisError
        When a prediction is NaN or outside [0, 1], a label is not 0 or 1, or there is nothing to sort.
    """
    p, y = _checked(probability, labels)
    if n_bins < 1:
        raise AnalysisError(f"{n_bins} bins hold nothing; ask for at least 1")
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    if binning == "equal_width":
        edges = np.linspace(0, 1, n_bins + 1)
        number = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, n_bins - 1)
        starts = np.flatnonzero(np.r_[True, np.diff(number) > 0])
        return _counted(p, y, starts, edges[number[starts]], edges[number[starts] + 1])
    if binning == "top_1_percent":
        first = np.searchsorted(p, p[-int(np.ceil(len(p) / 100))], side="left")
        p, y = p[first:], y[first:]
    # np.array_split's sizes: where n_bins does not divide n, the first bins hold one more.
    size, n_larger = divmod(len(p), n_bins)
    ends = np.cumsum([size + 1] * n_larger + [size] * (n_bins - n_larger))
    ends = np.unique(np.searchsorted(p, p[ends[ends > 0] - 1], side="right"))
    starts = np.r_[0, ends[:-1]]
    return _counted(p, y, starts, p[starts], p[ends - 1])


def _counted(p: Floats, y: Floats, starts: npt.NDArray[np.int64], lo: Floats, hi: Floats) -> ReliabilityBins:
    n = np.diff(np.r_[starts, len(p)])
    k = np.add.reduceat(y, starts).astype(np.int64)
    return ReliabilityBins(n.astype(np.int64), k, np.add.reduceat(p, starts) / n, lo, hi)


def ece(bins: ReliabilityBins) -> float:
    """Return the expected calibration error: the mean over bins of the distance of k / n from mean_p, weighted by n.

    Naeini, Cooper & Hauskrecht (2015), AAAI, p. 2901.
    """
    return float(np.average(np.abs(bins.k / bins.n - bins.mean_p), weights=bins.n))


def brier(probability: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean squared difference between prediction and class: Brier (1950), Mon. Weather Rev. 78, 1."""
    p, y = _checked(probability, labels)
    return float(np.mean((p - y) ** 2))


def brier_skill(probability: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return 1 - Brier / (Brier of the base rate, r (1 - r)): 1 is perfect, 0 no better than the share of positives.

    Raises
    ------
    AnalysisError
        When a class is absent: the base rate then has no error to improve on.
    """
    p, y = _checked(probability, labels)
    rate = float(y.mean())
    if rate in {0, 1}:
        raise AnalysisError(f"{len(y):,} objects of one class have no Brier skill; use a part with both classes")
    return 1 - brier(p, y) / (rate * (1 - rate))


def log_loss(probability: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean of `log_losses`."""
    return float(np.mean(log_losses(probability, labels)))


def log_losses(probability: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return -ln(prediction of the true class) of each object, shape (n,), predictions kept 2^-53 from 0 and 1.

    A positive that was given 0, as the low end of an isotonic calibration may, so costs 36.7 rather than infinity.
    """
    p, y = _checked(probability, labels)
    clipped = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.asarray(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped)))


def _checked(probability: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise AnalysisError(f"{p.shape} predictions for {y.shape} labels; give one row of each, at least one object")
    if not ((p >= 0) & (p <= 1)).all():
        raise AnalysisError("a prediction is NaN or outside [0, 1]; give probabilities")
    if not np.isin(y, (0, 1)).all():
        raise AnalysisError("a label is neither 0 nor 1; give classes")
    return p, y
