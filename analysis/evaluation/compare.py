"""Whether a rate differs between conditions: Fisher's exact test, and Holm's correction for having asked many times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST = 10
"""Objects below which a rate is neither published nor compared."""
_TIE = 1 + 1e-10
"""Chances closer than this are equal, and differ by rounding."""


def against_the_rest(k: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the two-sided p-value of each bin's rate against that of the other bins together, shape (n_bins,).

    NaN for a bin of fewer than 10 objects, or one that leaves fewer than 10 to the others. Fisher (1935), J. R. Stat.
    Soc. 98, 39.
    """
    found = np.full(len(k), np.nan)
    for i in np.flatnonzero((n >= FEWEST) & (n.sum() - n >= FEWEST)):
        found[i] = fisher_two_sided(int(k[i]), int(n[i]), int(k.sum()), int(n.sum()))
    return found


def fisher_two_sided(k: int, n: int, all_k: int, all_n: int) -> float:
    """Chance of a k no likelier than this one, when n of all_n objects are taken and all_k of all_n are detected.

    scipy's `fisher_exact` gives the same, a millisecond a table. Here the hypergeometric law is followed from its mode
    by the ratios of neighbours, which loses no digits to logarithms of large factorials.
    """
    lowest, highest = max(0, n + all_k - all_n), min(n, all_k)
    x = np.arange(lowest, highest, dtype=np.float64)
    ratio = (all_k - x) * (n - x) / ((x + 1) * (all_n - all_k - n + x + 1))
    mode = (n + 1) * (all_k + 1) // (all_n + 2) - lowest
    below, above = np.cumprod(1 / ratio[:mode][::-1])[::-1], np.cumprod(ratio[mode:])
    law = np.concatenate([below, [1.0], above])
    return float(law[law <= law[k - lowest] * _TIE].sum() / law.sum())


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
