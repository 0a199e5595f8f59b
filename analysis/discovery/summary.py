"""What a search found, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.discovery.survey_quantile import SurveyCut
from analysis.evaluation.tables import times

FEW_ABOVE = 10
"""With fewer objects above it the threshold itself is uncertain, and is said to be."""


@dataclass(frozen=True)
class DiscoverySummary:
    """The cut of a model, and whether it was made now."""

    model_id: int
    model_name: str
    is_new: bool
    cut: SurveyCut
    fraction: float
    prevalence: float
    n_known: int
    n_candidates: int
    is_test_read: bool
    n_test_accesses: int

    def lines(self) -> list[str]:
        """Say where the top fraction begins and how far that can be trusted, for people."""
        cut = self.cut
        place = (
            f"model {self.model_name}: the survey's top {self.fraction:.4%} reaches {cut.threshold:.6g} "
            f"(95 % {cut.threshold_lo:.6g} to {cut.threshold_hi:.6g}, bootstrap by sky cell)"
        )
        basis = (
            f"from {cut.n_sample:,} objects of {'val and test' if self.is_test_read else 'val'} (as good as "
            f"{cut.n_effective:,.0f} of equal weight) that stand for {cut.n_survey:,.0f} galaxies; {cut.n_above:,} of "
            f"them reach it (as good as {cut.n_above_effective:,.1f})"
        )
        lines = [place, basis]
        if cut.n_above < FEW_ABOVE:
            lines.append(f"fewer than {FEW_ABOVE} of the sample reach it: the threshold is uncertain")
        lines.append(
            f"{self.n_candidates:,} new candidates; {self.n_known:,} more objects there are known lenses or near one"
        )
        if self.is_test_read:
            lines.append(f"test split read {times(self.n_test_accesses)} for this model")
        return lines
