"""Areas under the ROC curve of a model's scores, and recall above every negative, with a bootstrap by sky cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.bootstrap import CellBootstrap, percentile_ends

PARTIAL_MAX_FPR = 1e-2
"""False-positive rate up to which the partial area is taken."""

NUMBERS = ("auc", "partial_auc", "partial_auc_raw", "tpr0")
"""What is computed of a ROC curve.

``partial_auc_raw`` is the area over 0 <= FPR <= 1e-2, at most 0.01; ``partial_auc`` the same standardised to 0.5 for
chance and 1 at best (McClish 1989, Med. Decis. Making 9, 190); ``tpr0`` the recall above the highest negative.
"""


@dataclass(frozen=True)
class AucInterval:
    """A number and the ends of its 95 % interval."""

    value: float
    lo: float
    hi: float


class RocOfSamples:
    """ROC curves of several samples of positives against the same negatives, under any weights of the sky's cells.

    Only the order of scores counts. Between two positives it does not matter where a negative lies, so negatives are
    held as counts by interval between positive scores and by cell: replicates then cost a sparse product.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        is_positive: NDArray[np.bool_],
        samples: NDArray[np.bool_],
        bootstrap: CellBootstrap,
    ) -> None:
        """Rank the scores.

        Parameters
        ----------
        scores, is_positive
            Shape (n,).
        samples
            Shape (n_samples, n): which positives belong to each sample; what it says of negatives is not read.
        bootstrap
            The cells of the n objects.
        """
        steps = np.unique(scores[is_positive])
        # Places of scores among the steps: 2 i below step i and above the one before it, 2 i + 1 at step i.
        place = np.searchsorted(steps, scores, side="left") + np.searchsorted(steps, scores, side="right")
        self._negatives = bootstrap.by_cell(place, 2 * len(steps) + 1, ~is_positive)
        self._step = place[is_positive] // 2
        self._cell = bootstrap.number[is_positive]
        self._samples = samples[:, is_positive].astype(np.float64)

    def under(self, weights: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Return each of `NUMBERS`, shape (n_samples, m), under weights of the cells of shape (n_cells, m).

        NaN where a sample, or the negatives, have no weight.
        """
        negatives = (self._negatives @ weights).astype(np.float64)
        reached = np.cumsum(negatives[::-1], axis=0)[::-1]
        ties = negatives[1::2][self._step]
        above = (reached[1::2] - negatives[1::2])[self._step]
        total = reached[0]
        weight = weights[self._cell].astype(np.float64)
        n_positives = self._samples @ weight
        with np.errstate(invalid="ignore", divide="ignore"):
            fpr, tied = above / total, ties / total

            def mean(worth: NDArray[np.float64]) -> NDArray[np.float64]:
                share: NDArray[np.float64] = self._samples @ (weight * worth) / n_positives
                return np.where(total > 0, share, np.nan)

            raw = mean(_area(fpr, tied, PARTIAL_MAX_FPR))
            least = PARTIAL_MAX_FPR**2 / 2
            return {
                "auc": mean(_area(fpr, tied, 1.0)),
                "partial_auc": 0.5 * (1 + (raw - least) / (PARTIAL_MAX_FPR - least)),
                "partial_auc_raw": raw,
                "tpr0": mean((above + ties == 0).astype(np.float64)),
            }


def _area(fpr: NDArray[np.float64], tied: NDArray[np.float64], max_fpr: float) -> NDArray[np.float64]:
    """Area up to `max_fpr` below the step of one positive: 0 before `fpr`, a ramp of width `tied`, then 1."""
    width = max_fpr - fpr
    ramp = np.divide(width**2, 2 * tied, out=np.zeros_like(width), where=tied > 0)
    area: NDArray[np.float64] = np.where(width <= 0, 0.0, np.where(width < tied, ramp, width - tied / 2))
    return area


def roc_by_cell(
    scores: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    samples: Mapping[str, NDArray[np.bool_]],
    bootstrap: CellBootstrap,
) -> dict[str, dict[str, AucInterval]]:
    """Return each of `NUMBERS` for each sample of positives that is not empty, with percentile intervals.

    A replicate without negatives, or without positives of a sample, is left out of the interval. The interval reaches
    to the value itself where all replicates lie on one side of it, as those of TPR0 often do: a replicate may lack the
    highest negative and never gains a higher one.

    Parameters
    ----------
    scores, is_positive
        Shape (n,).
    samples
        Masks of shape (n,): the positives of each sample.
    bootstrap
        The cells of the n objects.
    """
    filled = {name: mask for name, mask in samples.items() if (mask & is_positive).any()}
    if not filled:
        return {}
    curves = RocOfSamples(scores, is_positive, np.array(list(filled.values())), bootstrap)
    value = curves.under(np.ones((bootstrap.n_cells, 1), dtype=np.float32))
    drawn = [curves.under(weights) for weights in bootstrap]
    found: dict[str, dict[str, AucInterval]] = {name: {} for name in filled}
    for number in NUMBERS:
        ends = percentile_ends(np.concatenate([block[number] for block in drawn], axis=1))
        for name, own, (lo, hi) in zip(filled, value[number][:, 0], ends, strict=True):
            found[name][number] = AucInterval(float(own), float(np.fmin(lo, own)), float(np.fmax(hi, own)))
    return found


def auc_by_cell(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    cells: NDArray[np.int64],
    *,
    n_replicates: int = 2000,
    seed: int = 0,
) -> AucInterval:
    """Return the AUC with a percentile bootstrap that resamples sky cells, not objects.

    Parameters
    ----------
    scores, labels, cells
        Shape (n,): score, class (0 or 1) and HEALPix cell of each object; both classes must be there.
    """
    is_positive = labels == 1
    bootstrap = CellBootstrap.draw(cells, n_replicates, seed)
    return roc_by_cell(scores, is_positive, {"all": is_positive}, bootstrap)["all"]["auc"]
