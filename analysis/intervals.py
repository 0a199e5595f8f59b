"""Binomial intervals, computed once for each (k, n) and kept in `evaluation.interval`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, norm
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert as insert_or

from db.models.evaluation import Interval

LEVEL = 0.95


def wilson(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Wilson score interval of k successes in n > 0 trials; arrays of the broadcast shape.

    Wilson (1927), J. Am. Stat. Assoc. 22, 209; Brown, Cai & DasGupta (2001), Stat. Sci. 16, 101, eq. 4.
    """
    k_, n_ = np.broadcast_arrays(np.asarray(k, dtype=float), np.asarray(n, dtype=float))
    z = norm.ppf(0.5 + level / 2)
    p = k_ / n_
    centre = (p + z**2 / (2 * n_)) / (1 + z**2 / n_)
    half = z / (1 + z**2 / n_) * np.sqrt(p * (1 - p) / n_ + z**2 / (4 * n_**2))
    lo = np.where(k_ == 0, 0.0, centre - half)
    hi = np.where(k_ == n_, 1.0, centre + half)
    return np.clip(lo, 0, 1), np.clip(hi, 0, 1)


def jeffreys(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Jeffreys interval, quantiles of Beta(k + 1/2, n - k + 1/2); 0 at k = 0 and 1 at k = n.

    Brown, Cai & DasGupta (2001), Stat. Sci. 16, 101, section 3.1.3.
    """
    k_, n_ = np.broadcast_arrays(np.asarray(k, dtype=float), np.asarray(n, dtype=float))
    tail = (1 - level) / 2
    lo = np.where(k_ == 0, 0.0, beta.ppf(tail, k_ + 0.5, n_ - k_ + 0.5))
    hi = np.where(k_ == n_, 1.0, beta.ppf(1 - tail, k_ + 0.5, n_ - k_ + 0.5))
    return lo, hi


def ensure_intervals(connection: Connection, pairs: set[tuple[int, int]]) -> None:
    """Write the Wilson and Jeffreys intervals of each (k, n) with n > 0 that the table does not have yet."""
    wanted = np.array(sorted((k, n) for k, n in pairs if n > 0), dtype=np.int64).reshape(-1, 2)
    if not len(wanted):
        return
    k, n = wanted.T
    for method, interval in (("wilson", wilson), ("jeffreys", jeffreys)):
        lo, hi = interval(k, n)
        rows = [
            {
                "k": int(row[0]),
                "n": int(row[1]),
                "method": method,
                "level": LEVEL,
                "lo": float(row[2]),
                "hi": float(row[3]),
            }
            for row in np.column_stack([k, n, lo, hi])
        ]
        connection.execute(insert_or(Interval).on_conflict_do_nothing(), rows)
