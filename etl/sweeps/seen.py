"""Which keys of a file were there before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SeenKeys:
    """The keys of a file so far.

    They lie in sorted runs, each more than twice as long as the next, so that remembering n keys costs n log n and
    not, as one sorted array would, the square of n.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Remember keys, and tell which of them are not the first of their kind, among these and all before."""
        is_repeat = np.zeros(len(keys), dtype=np.bool_)
        new = np.sort(keys)
        if (new[1:] == new[:-1]).any() or self._has(new).any():
            unique, first = np.unique(keys, return_index=True)
            is_new = ~self._has(unique)
            is_repeat[:] = True
            is_repeat[first[is_new]] = False
            new = unique[is_new]
        self._keep(new)
        return is_repeat

    def _has(self, ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
        has = np.zeros(len(ordered), dtype=np.bool_)
        for run in self._runs:
            has |= run[np.searchsorted(run[:-1], ordered)] == ordered
        return has

    def _keep(self, run: NDArray[np.int64]) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        if len(run):
            self._runs.append(run)
