"""Resampling of sky cells: objects of one cell share conditions and neighbours, so cells are drawn, not objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from analysis.errors import AnalysisError

METHOD = "bootstrap by sky cell"
BLOCK = 64
"""Replicates that are worked on at once: their weights of `CELLS` cells, 2 MB, stay in the processor's cache."""
CELLS = 8192
"""Cells that are worked on at once."""


@dataclass(frozen=True)
class CellBootstrap:
    """How often each cell comes up in each replicate, when as many cells as there are are drawn with replacement.

    `number` of shape (n,) is the row of each object's cell in `blocks`, of shape (n_cells, at most BLOCK) each.
    """

    number: NDArray[np.int64]
    n_cells: int
    blocks: tuple[NDArray[np.uint8], ...]

    @classmethod
    def draw(cls, cells: NDArray[np.int64], n_replicates: int, seed: int) -> CellBootstrap:
        """Draw the replicates of the cells that objects, of shape (n,), lie in.

        Raises
        ------
        AnalysisError
            When there is no object.
        """
        known, number = np.unique(cells, return_inverse=True)
        n_cells = len(known)
        if not n_cells:
            raise AnalysisError("no object to resample: score some cutouts first")
        rng = np.random.default_rng(seed)
        blocks = []
        for start in range(0, n_replicates, BLOCK):
            block = np.empty((min(BLOCK, n_replicates - start), n_cells), dtype=np.uint8)
            for row in block:
                row[:] = np.bincount(rng.integers(0, n_cells, n_cells), minlength=n_cells)
            blocks.append(np.ascontiguousarray(block.T))
        return cls(number.astype(np.int64), n_cells, tuple(blocks))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the weights of the cells block by block, shape (n_cells, at most BLOCK)."""
        for block in self.blocks:
            yield block.astype(np.float32)

    def by_cell(self, row: NDArray[np.int64], n_rows: int, chosen: NDArray[np.bool_]) -> csr_matrix:
        """Count the chosen objects in each cell, one matrix row for each value of `row`; shape (n_rows, n_cells)."""
        shape = (n_rows, self.n_cells)
        rows, cells = row[chosen], self.number[chosen]
        if len(rows) * 8 < n_rows * self.n_cells:
            return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, cells)), shape=shape)
        # An object for every few places: counting them beats sorting them.
        counts = np.bincount(rows * self.n_cells + cells, minlength=n_rows * self.n_cells)
        return csr_matrix(counts.reshape(shape).astype(np.float32))

    def totals(self, by_cell: csr_matrix) -> NDArray[np.float32]:
        """Return how many objects of each row every replicate holds, shape (n_rows, n_replicates).

        Exact: whole numbers below 2^24.
        """
        n_replicates = sum(block.shape[1] for block in self.blocks)
        found = np.zeros((by_cell.shape[0], n_replicates), dtype=np.float32)
        columns = by_cell.tocsc()
        for first in range(0, self.n_cells, CELLS):
            some, start = columns[:, first : first + CELLS].tocsr(), 0
            for block in self.blocks:
                stop = start + block.shape[1]
                found[:, start:stop] += some @ block[first : first + CELLS].astype(np.float32)
                start = stop
        return found


def percentile_ends(replicates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2.5 % and 97.5 % points of each row of (m, n_replicates), NaN left out; shape (m, 2)."""
    ordered = np.sort(replicates, axis=1)  # NaN last
    n = np.isfinite(ordered).sum(axis=1)
    place = np.outer(np.maximum(n - 1, 0), [0.025, 0.975])
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n - 1, 0)[:, np.newaxis])
    low, high = (np.take_along_axis(ordered, at, axis=1) for at in (below, above))
    return low + (high - low) * (place - below)
