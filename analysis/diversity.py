"""How two models err on the same objects: counts, and the pairwise measures of Kuncheva & Whitaker (2003).

Machine Learning 51, 181. Of n objects, n11 are those that both models are right about, n00 those that neither is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from analysis.scores import ScoredObjects

Points = dict[float, float]
"""Threshold of a model for each false-positive rate."""


@dataclass(frozen=True)
class Pairing:
    """Objects by which of two models is right about them."""

    n_both_right: int
    n_only_a_right: int
    n_only_b_right: int
    n_both_wrong: int

    @classmethod
    def count(cls, is_a_right: NDArray[np.bool_], is_b_right: NDArray[np.bool_]) -> Pairing:
        """Count objects, both masks of shape (n,)."""
        return cls(
            int((is_a_right & is_b_right).sum()),
            int((is_a_right & ~is_b_right).sum()),
            int((~is_a_right & is_b_right).sum()),
            int((~is_a_right & ~is_b_right).sum()),
        )

    @property
    def n(self) -> int:
        """All objects."""
        return self.n_both_right + self.n_only_a_right + self.n_only_b_right + self.n_both_wrong

    @property
    def n_a_right(self) -> int:
        """Objects that model a is right about."""
        return self.n_both_right + self.n_only_a_right

    @property
    def n_b_right(self) -> int:
        """Objects that model b is right about."""
        return self.n_both_right + self.n_only_b_right

    @property
    def n_either_right(self) -> int:
        """Objects that an oracle, who knows which model to ask, is right about."""
        return self.n - self.n_both_wrong

    @property
    def right(self) -> tuple[int, int, int]:
        """Objects that a, b and either is right about."""
        return self.n_a_right, self.n_b_right, self.n_either_right

    @property
    def error_correlation(self) -> float | None:
        """Correlation of being right: (n11 n00 - n01 n10) / sqrt of the product of the margins; None for a 0 margin."""
        margins = (self.n_a_right, self.n - self.n_a_right, self.n_b_right, self.n - self.n_b_right)
        if 0 in margins:
            return None
        return float(np.clip(self._cross() / np.sqrt(np.prod(np.array(margins, dtype=np.float64))), -1, 1))

    @property
    def q_statistic(self) -> float | None:
        """Yule's Q: (n11 n00 - n01 n10) / (n11 n00 + n01 n10); None where the denominator is 0."""
        denominator = self.n_both_right * self.n_both_wrong + self.n_only_a_right * self.n_only_b_right
        return self._cross() / denominator if denominator else None

    @property
    def disagreement(self) -> float | None:
        """Share that just one model is right about; None for no objects."""
        return (self.n_only_a_right + self.n_only_b_right) / self.n if self.n else None

    def _cross(self) -> int:
        return self.n_both_right * self.n_both_wrong - self.n_only_a_right * self.n_only_b_right


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Spearman's correlation of two models' scores, each of shape (n,); None where one scores all alike."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.clip(spearmanr(a, b).statistic, -1, 1))


@dataclass(frozen=True)
class Scored:
    """Scores of one model and its thresholds."""

    objects: ScoredObjects
    points: Points


@dataclass(frozen=True)
class Compared:
    """Two models on one sample, at the thresholds of one false-positive rate."""

    fpr_target: float
    sample: str
    threshold_a: float
    threshold_b: float
    counts: Pairing
    score_correlation: float | None

    def values(self) -> dict[str, object]:
        """Columns of `evaluation.diversity`."""
        return {
            **{name: getattr(self, name) for name in ("fpr_target", "sample", "threshold_a", "threshold_b")},
            **asdict(self.counts),
            "error_correlation": self.counts.error_correlation,
            "q_statistic": self.counts.q_statistic,
            "score_correlation": self.score_correlation,
        }


def shared_targets(a: Points, b: Points) -> list[float]:
    """False-positive rates that both have a threshold for, the loosest first."""
    return sorted(a.keys() & b.keys(), reverse=True)


def compare(a: Scored, b: Scored) -> list[Compared]:
    """Compare two models on the same objects: ground-imaging discoveries, and negatives."""
    of_a = a.objects
    positive = (of_a.label == 1) & (of_a.discovery == "ground_imaging")
    compared = []
    for sample, mask in (("positives", positive), ("negatives", of_a.label == 0)):
        score_a, score_b = of_a.score[mask], b.objects.score[mask]
        correlation = rank_correlation(score_a, score_b)
        for target in shared_targets(a.points, b.points):
            thresholds = a.points[target], b.points[target]
            is_detection = sample == "positives"
            counts = Pairing.count(
                (score_a >= thresholds[0]) == is_detection, (score_b >= thresholds[1]) == is_detection
            )
            compared.append(Compared(target, sample, *thresholds, counts, correlation))
    return compared
