"""Which objects are counted together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.scores import HELD_OUT, ScoredObjects

NEGATIVES = frozenset({"negatives", "N1", "N2"})
"""Samples whose rate is a false-positive rate."""


def samples_of(objects: ScoredObjects) -> dict[str, NDArray[np.bool_]]:
    """Return the members of each sample, masks of shape (n,).

    Headline recall is that of ground-imaging discoveries; positives found otherwise (spectroscopy, HST) are mostly
    invisible from the ground and are a sample of their own. `tier_ab_graded` leaves out tier B without a letter grade.
    """
    positive = (objects.label == 1) & (objects.pool != HELD_OUT)
    headline = positive & (objects.discovery == "ground_imaging")
    return {
        "tier_a": headline & (objects.tier == "A"),
        "tier_b": headline & (objects.tier == "B"),
        "tier_ab": headline,
        "tier_ab_graded": headline & ((objects.tier == "A") | np.isin(objects.best_letter_grade, ("A", "B", "C"))),
        "not_ground_imaging": positive & ~headline,
        "negatives": objects.label == 0,
        "N1": objects.pool == "N1",
        "N2": objects.pool == "N2",
    }


def held_out_samples(held: ScoredObjects, split: str) -> dict[str, NDArray[np.bool_]]:
    """Return the samples of held-out discoveries: those in cells of the split and, with test, all wherever they lie.

    None was trained on as a positive; around one in a cell of train, negatives may have been.
    """
    samples = {HELD_OUT: held.split == split}
    if split == "test":
        samples["held_out_all"] = np.ones(len(held), dtype=np.bool_)
    return samples
