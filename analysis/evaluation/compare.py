"""Whether a rate differs between conditions: Fisher's exact test, and Holm's correction for having asked many times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

FEWEST = 10
"""Objects below which a rate is neither published nor compared."""


def against_the_rest(k: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the two-sided p-value of each bin's rate against that of the other bins together, shape (n_bins,).

    NaN for a bin of fewer than 10 objects, or one that leaves fewer than 10 to the others. Fisher (1935), J. R. Stat.
    Soc. 98, 39.
    """
    found = np.full(len(k), np.nan)
    for i in np.flatnonzero((n >= FEWEST) & (n.sum() - n >= FEWEST)):
        rest_k, rest_n = k.sum() - k[i], n.sum() - n[i]
        found[i] = min(float(fisher_exact([[k[i], n[i] - k[i]], [rest_k, rest_n - rest_k]]).pvalue), 1.0)
    return found


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values of shape (m,) so that the chance of any false alarm among them stays below the level read off.

    NaN stands for no comparison, is not counted and stays. Holm (1979), Scand. J. Stat. 6, 65.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    ordered = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(ordered), 0, -1)
    adjusted[ordered] = np.minimum(np.maximum.accumulate(factors * p[ordered]), 1.0)
    return adjusted
