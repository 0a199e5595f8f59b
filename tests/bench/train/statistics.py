"""How long the numbers of an evaluation take at the survey's size: AUC and recall with their bootstraps by sky cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from sklearn.metrics import roc_auc_score

from analysis.auc import auc_by_cell
from analysis.bootstrap import CellBootstrap
from analysis.evaluation.conditions import axes_of, count_conditions
from analysis.evaluation.samples import samples_of
from analysis.operating import choose_threshold
from analysis.scores import ScoredObjects
from tests.bench.limits import Measure, median
from tests.bench.train.made_scores import made_scores
from tests.bench.train.sizes import Sizes

FPR_TARGETS = (1e-2, 1e-3, 1e-4)


def measure(_folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Time each a few times, after holding the AUC to scikit-learn's; limits are those of the fewest cells."""
    found: list[Measure] = []
    for n_cells in sizes.n_cells:
        objects = made_scores(sizes, n_cells)
        area = auc_by_cell(objects.score, objects.label, objects.healpix_128, n_replicates=20)
        truth = roc_auc_score(objects.label, objects.score)
        if abs(area.value - truth) > 1e-12:
            raise ValueError(f"AUC {area.value}, scikit-learn {truth}")
        n = f"{sizes.n_scores:,} scores, {n_cells:,} cells, {sizes.n_replicates:,} replicates"
        is_limited = n_cells == sizes.n_cells[0]
        with out.status(f"AUC, {n_cells:,} cells"):
            seconds = _timed(sizes, partial(_auc, objects, sizes))
        found.append(median(f"AUC with its interval, {n}", seconds, "s", **({"at_most": 10.0} if is_limited else {})))
        with out.status(f"recall tables, {n_cells:,} cells"):
            seconds = _timed(sizes, partial(_recall_tables, objects, sizes))
        name = f"recall and FPR by condition at three thresholds with theirs, {n}"
        found.append(median(name, seconds, "s", **({"at_most": 2.0} if is_limited else {})))
    return found


def _auc(objects: ScoredObjects, sizes: Sizes) -> object:
    return auc_by_cell(objects.score, objects.label, objects.healpix_128, n_replicates=sizes.n_replicates)


def _recall_tables(objects: ScoredObjects, sizes: Sizes) -> object:
    bootstrap = CellBootstrap.draw(objects.healpix_128, sizes.n_replicates, 1)
    negatives = objects.score[objects.label == 0]
    thresholds = [choose_threshold(negatives, target).threshold for target in FPR_TARGETS]
    return count_conditions(objects, samples_of(objects), axes_of(objects), thresholds, bootstrap)


def _timed(sizes: Sizes, work: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(min(3, sizes.n_repeats)):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds
