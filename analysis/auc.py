"""Area under the ROC curve of a model's scores, with a bootstrap by sky cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etl.validation.auc import auc, cell_weights


@dataclass(frozen=True)
class AucInterval:
    """AUC and the ends of its 95 % interval."""

    value: float
    lo: float
    hi: float


def auc_by_cell(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    cells: NDArray[np.int64],
    *,
    n_replicates: int = 1000,
    seed: int = 0,
) -> AucInterval:
    """Return the AUC with a percentile bootstrap that resamples sky cells, not objects.

    Objects of one cell share conditions and neighbours; resampling them one by one would make the interval too narrow.

    Parameters
    ----------
    scores, labels, cells
        Shape (n,): score, class (0 or 1) and HEALPix cell of each object; both classes must be there.
    """
    is_positive = labels == 1
    value = float(auc(scores, is_positive, np.ones((1, len(scores))))[0])
    weights = cell_weights(cells, n_replicates, seed)
    parts = np.array_split(weights, max(1, weights.size // 4_000_000))
    replicates = np.concatenate([auc(scores, is_positive, part) for part in parts])
    lo, hi = np.nanquantile(replicates, [0.025, 0.975])
    return AucInterval(value, min(float(lo), value), max(float(hi), value))
