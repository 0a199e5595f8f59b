"""Rates by observing condition and kind of object, with a bootstrap by sky cell and corrected comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from analysis.bootstrap import CellBootstrap, percentile_ends
from analysis.evaluation.axes import EDGES, OF_POSITIVES, POOLED, WORDS, Bin, bin_numbers, bins_of
from analysis.evaluation.compare import FEWEST, against_the_rest, holm
from analysis.evaluation.samples import NEGATIVES
from analysis.scores import ScoredObjects


@dataclass(frozen=True)
class ConditionCount:
    """k of n objects of a sample in one bin of one axis at or above a threshold.

    `boot_lo` and `boot_hi` are None where resampling says nothing: fewer than 10 objects, or none or all detected.
    """

    sample: str
    axis: str
    bin: str
    bin_lo: float | None
    bin_hi: float | None
    k: int
    n: int
    n_cells: int
    boot_lo: float | None
    boot_hi: float | None
    p_value: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Axis:
    """An axis, its bins, and the bin of each object, shape (n,)."""

    name: str
    bins: tuple[Bin, ...]
    number: NDArray[np.int64]


def axes_of(objects: ScoredObjects) -> list[Axis]:
    """Return the pooled axis and all that have fixed bins."""
    pooled = Axis(POOLED, (Bin(POOLED),), np.zeros(len(objects), dtype=np.int64))
    return [pooled, *(Axis(name, bins_of(name), bin_numbers(objects, name)) for name in (*EDGES, *WORDS))]


def count_conditions(
    objects: ScoredObjects,
    samples: Mapping[str, NDArray[np.bool_]],
    axes: Sequence[Axis],
    thresholds: Sequence[float],
    bootstrap: CellBootstrap,
) -> list[list[ConditionCount]]:
    """Count each sample along each axis at each threshold; one list for each threshold, bins without objects left out.

    Parameters
    ----------
    objects
        Those of one split.
    samples
        Masks of shape (n,).
    axes
        Axes of the same objects.
    thresholds
        A score at or above one is a detection.
    bootstrap
        The cells of the objects.
    """
    used = {
        sample: [axis for axis in axes if sample not in NEGATIVES or axis.name not in OF_POSITIVES]
        for sample in samples
    }
    everyone = [_by_cell(used[sample], mask, bootstrap) for sample, mask in samples.items()]
    totals = bootstrap.totals(vstack(everyone, format="csr"))
    found: list[list[ConditionCount]] = []
    for threshold in thresholds:
        detected = objects.score >= threshold
        hits = [_by_cell(used[sample], mask & detected, bootstrap) for sample, mask in samples.items()]
        rows: list[ConditionCount] = []
        for sample, own, of, resampled in zip(
            samples, hits, everyone, _ends(hits, everyone, totals, bootstrap), strict=True
        ):
            k, n = _row_sums(own), _row_sums(of)
            p = _p_values(used[sample], k, n)
            counts = np.stack([k, n, of.getnnz(axis=1)], axis=1)
            rows.extend(_rows(sample, used[sample], counts, np.column_stack([resampled, p, holm(p)])))
        found.append(rows)
    return found


def _by_cell(axes: Sequence[Axis], mask: NDArray[np.bool_], bootstrap: CellBootstrap) -> csr_matrix:
    """Count objects by bin and cell, the bins of all axes one below the other."""
    return vstack([bootstrap.by_cell(axis.number, len(axis.bins), mask) for axis in axes], format="csr")


def _row_sums(by_cell: csr_matrix) -> NDArray[np.int64]:
    return np.asarray(by_cell.sum(axis=1), dtype=np.int64).ravel()


def _ends(
    hits: Sequence[csr_matrix], everyone: Sequence[csr_matrix], totals: NDArray[np.float32], bootstrap: CellBootstrap
) -> list[NDArray[np.float64]]:
    """Return the ends of each sample's intervals, shape (n_bins, 2) each; all samples are resampled at once."""
    k, n = (np.concatenate([_row_sums(part) for part in parts]) for parts in (hits, everyone))
    wanted = (n >= FEWEST) & (k > 0) & (k < n)
    ends = np.full((len(wanted), 2), np.nan)
    if wanted.any():
        resampled = bootstrap.totals(vstack(hits, format="csr")[wanted]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            ends[wanted] = percentile_ends(resampled / totals[wanted])
    return np.split(ends, np.cumsum([part.shape[0] for part in hits])[:-1])


def _p_values(axes: Sequence[Axis], k: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    stops = np.cumsum([len(axis.bins) for axis in axes])[:-1]
    parts = zip(np.split(k, stops), np.split(n, stops), strict=True)
    return np.concatenate([against_the_rest(*part) for part in parts])


def _rows(
    sample: str, axes: Sequence[Axis], counts: NDArray[np.int64], numbers: NDArray[np.float64]
) -> list[ConditionCount]:
    bins = [(axis.name, bin_) for axis in axes for bin_ in axis.bins]
    rows = []
    for (axis, bin_), (k, n, n_cells), values in zip(bins, counts.tolist(), numbers.tolist(), strict=True):
        if n or axis == POOLED:
            lo, hi, p, adjusted = (None if np.isnan(value) else value for value in values)
            rows.append(ConditionCount(sample, axis, bin_.label, bin_.lo, bin_.hi, k, n, n_cells, lo, hi, p, adjusted))
    return rows
