"""What scores are worth: calibrations, their reliability, and false-positive rates of the survey."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Split, one_of, probability

CALIBRATION_METHODS = ("temperature", "platt", "isotonic")
BINNINGS = ("equal_mass", "equal_width", "top_1_percent")


class Calibration(Base):
    """A fitted map from a model's scores to probabilities."""

    __tablename__ = "calibration"
    __table_args__ = (
        one_of("method", CALIBRATION_METHODS),
        CheckConstraint("n_positives > 0 AND n_negatives > 0", name="both_classes"),
        CheckConstraint("prevalence > 0 AND prevalence < 1", name="prevalence_range"),
        CheckConstraint("body ->> 'method' = method", name="body_of_the_method"),
        {
            "schema": "evaluation",
            "comment": "A map from a model's scores to probabilities, fitted without weights on the calibration part "
            "of val; its probabilities hold at the prevalence of that part.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    method: Mapped[str] = mapped_column(
        primary_key=True,
        comment="temperature: sigmoid(logit / T); platt: sigmoid(a + b logit); isotonic: a rising function",
    )
    body: Mapped[dict[str, Any]] = mapped_column(
        comment="What was fitted: temperature; or intercept, slope and those of bootstrap replicates by sky cell; or "
        "the corners (score, probability), straight between them"
    )
    n_positives: Mapped[int] = mapped_column(comment="Positives fitted on: ground-imaging discoveries")
    n_negatives: Mapped[int] = mapped_column(comment="Negatives fitted on, as drawn (N1 and N2)")
    prevalence: Mapped[float] = mapped_column(
        comment="Share of positives among them, about 1/100: that of the draw, not of the sky (about 1e-4)"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that fitted it")


class ReliabilityBin(Base):
    """One bin of predicted probability and the positives in it."""

    __tablename__ = "reliability_bin"
    __table_args__ = (
        one_of("split", Split),
        one_of("method", ("raw", *CALIBRATION_METHODS)),
        one_of("binning", BINNINGS),
        CheckConstraint("bin >= 0", name="bin_not_negative"),
        CheckConstraint("k >= 0 AND k <= n AND n > 0", name="k_within_n"),
        probability("mean_p"),
        CheckConstraint("p_lo >= 0 AND p_lo <= p_hi AND p_hi <= 1", name="ends_ordered"),
        {
            "schema": "evaluation",
            "comment": "One bin of a model's predicted probability and the positives in it, on objects that no "
            "calibration was fitted on.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    split: Mapped[str] = mapped_column(
        primary_key=True, comment="Split that was counted; val stands for its part that is not for calibration"
    )
    method: Mapped[str] = mapped_column(primary_key=True, comment="raw (the score itself), or the calibration's method")
    binning: Mapped[str] = mapped_column(
        primary_key=True,
        comment="equal_mass; equal_width; top_1_percent (equal mass within the highest hundredth); equal predictions "
        "are never parted",
    )
    bin: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Number of the bin, from 0, rising")
    n: Mapped[int] = mapped_column(comment="Objects in the bin")
    k: Mapped[int] = mapped_column(comment="Positives among them")
    mean_p: Mapped[float] = mapped_column(comment="Mean predicted probability")
    p_lo: Mapped[float] = mapped_column(comment="Lowest prediction in the bin; of equal_width its lower edge")
    p_hi: Mapped[float] = mapped_column(comment="Highest prediction in the bin; of equal_width its upper edge")


class SurveyRate(Base):
    """A rate at an operating point, reweighted from the draw to the survey."""

    __tablename__ = "survey_rate"
    __table_args__ = (
        one_of("split", Split),
        one_of("what", ("fpr",)),
        one_of("method", ("bootstrap by sky cell", "wilson at the effective number")),
        CheckConstraint("lo >= 0 AND lo <= value AND value <= hi AND hi <= 1", name="ends_ordered"),
        CheckConstraint("n_exceedances >= 0 AND n_exceedances <= n AND n > 0", name="exceedances_within_n"),
        CheckConstraint("n_effective > 0 AND n_effective <= n", name="effective_within_n"),
        {
            "schema": "evaluation",
            "comment": "A rate at an operating point among all galaxies that the draw could have taken: each negative "
            "counts 1 / its inclusion probability.",
        },
    )

    operating_point_id: Mapped[int] = mapped_column(
        ForeignKey("evaluation.operating_point.operating_point_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The operating point",
    )
    split: Mapped[str] = mapped_column(primary_key=True, comment="Split that was counted")
    what: Mapped[str] = mapped_column(primary_key=True, comment="fpr: share of negatives at or above the threshold")
    value: Mapped[float] = mapped_column(comment="The rate: sum of weights at or above the threshold / sum of weights")
    lo: Mapped[float] = mapped_column(comment="Lower end of its 95 % interval")
    hi: Mapped[float] = mapped_column(comment="Upper end of its 95 % interval")
    method: Mapped[str] = mapped_column(
        comment="How the interval was made: bootstrap by sky cell; with fewer than 10 exceedances wilson at the "
        "effective number"
    )
    n: Mapped[int] = mapped_column(
        comment="Negatives with an inclusion probability: N1 and N2, without mined ones (no sample of the survey)"
    )
    n_exceedances: Mapped[int] = mapped_column(comment="How many of them are at or above the threshold, unweighted")
    n_effective: Mapped[float] = mapped_column(
        comment="(sum of weights)^2 / sum of squared weights: as many equal weights are worth as much"
    )
