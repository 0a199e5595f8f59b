"""Which areas are taken under the ROC curve of a model, and their rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.auc import roc_by_cell
from analysis.bootstrap import METHOD, CellBootstrap
from analysis.evaluation.axes import UNGRADED, WORDS
from analysis.evaluation.compare import FEWEST
from analysis.evaluation.samples import samples_of
from analysis.scores import ScoredObjects


def metric_rows(objects: ScoredObjects, is_control: bool, bootstrap: CellBootstrap) -> list[dict[str, Any]]:
    """Return rows of `evaluation.metric`, without model and split, of the objects of one split.

    The name is that of the number with the sample of positives behind it; every sample is held against all negatives.
    """
    is_positive = objects.label == 1
    samples = {"": is_positive} if is_control else _samples(objects)
    found = roc_by_cell(objects.score, is_positive, samples, bootstrap)
    return [
        {
            "name": f"{number}{suffix}",
            **asdict(interval),
            "method": METHOD,
            "n_positives": int(samples[suffix].sum()),
            "n_negatives": int((~is_positive).sum()),
        }
        for suffix, numbers in found.items()
        for number, interval in numbers.items()
    ]


def _samples(objects: ScoredObjects) -> dict[str, NDArray[np.bool_]]:
    """Headline positives, those of tier A, A and graded B, and those of tier A by grade where there are 10 of it."""
    members = samples_of(objects)
    tier_a = members["tier_a"]
    of_grade = {
        f"_tier_a_grade_{grade.lower()}" if grade != UNGRADED else "_tier_a_ungraded": tier_a
        & (objects.best_letter_grade == ("" if grade == UNGRADED else grade))
        for grade in WORDS["grade"]
    }
    enough = {name: mask for name, mask in of_grade.items() if mask.sum() >= FEWEST}
    return {"": members["tier_ab"], "_tier_a": tier_a, "_tier_ab_graded": members["tier_ab_graded"], **enough}
