"""What ensembles are made of, and how alike models err."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Split, one_of

METHODS = ("average", "stacking", "bayes")
"""How an ensemble combines the scores of its members."""


class Ensemble(Base):
    """How one ensemble combines, and what that was fitted to."""

    __tablename__ = "ensemble"
    __table_args__ = (
        one_of("method", METHODS),
        CheckConstraint("n_positives >= 0 AND n_negatives >= 0", name="counts_positive"),
        CheckConstraint("(method = 'average') = (fitted_sha256 IS NULL)", name="average_fits_nothing"),
        CheckConstraint("fitted_sha256 ~ '^[0-9a-f]{64}$'", name="fitted_sha256_hex"),
        {
            "schema": "training",
            "comment": "How one ensemble combines the scores of its members. What is fitted is fitted on the "
            "calibration part of val alone.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The ensemble"
    )
    method: Mapped[str] = mapped_column(
        comment="average (mean score), stacking (logistic regression on log-odds), bayes (calibrated members taken as "
        "independent)"
    )
    body: Mapped[dict[str, Any]] = mapped_column(comment="What was fitted: intercepts, slopes, prior")
    n_positives: Mapped[int] = mapped_column(comment="Positives that it was fitted on; 0 where nothing is fitted")
    n_negatives: Mapped[int] = mapped_column(comment="Negatives that it was fitted on; 0 where nothing is fitted")
    fitted_sha256: Mapped[str | None] = mapped_column(
        comment="SHA-256 of the cutout ids, splits and file hashes that it was fitted on, hexadecimal; NULL where "
        "nothing is fitted"
    )


class EnsembleMember(Base):
    """One member of one ensemble."""

    __tablename__ = "ensemble_member"
    __table_args__ = (
        UniqueConstraint("model_id", "member_model_id"),
        CheckConstraint("position >= 1", name="position_from_one"),
        CheckConstraint("member_model_id <> model_id", name="not_its_own_member"),
        {
            "schema": "training",
            "comment": "One member of one ensemble. A model cannot go while an ensemble is made of it.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.ensemble.model_id", ondelete="CASCADE"), primary_key=True, comment="The ensemble"
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Place of the member, from 1")
    member_model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id"), index=True, comment="The member"
    )
    coefficient: Mapped[float] = mapped_column(
        comment="What it counts for: its weight in an average, the coefficient of its log-odds otherwise"
    )


class Diversity(Base):
    """How two models err on the same objects."""

    __tablename__ = "diversity"
    __table_args__ = (
        one_of("split", Split),
        one_of("sample", ("positives", "negatives")),
        CheckConstraint("model_a_id < model_b_id", name="pair_once"),
        CheckConstraint("fpr_target > 0 AND fpr_target < 1", name="fpr_target_range"),
        CheckConstraint(
            "n_both_right >= 0 AND n_only_a_right >= 0 AND n_only_b_right >= 0 AND n_both_wrong >= 0",
            name="counts_positive",
        ),
        CheckConstraint("q_statistic >= -1 AND q_statistic <= 1", name="q_statistic_range"),
        CheckConstraint("error_correlation >= -1 AND error_correlation <= 1", name="error_correlation_range"),
        CheckConstraint("score_correlation >= -1 AND score_correlation <= 1", name="score_correlation_range"),
        {
            "schema": "evaluation",
            "comment": "How two models err on the same objects, each at its own threshold for one false-positive rate. "
            "A positive at or above the threshold is right, a negative below it.",
        },
    )

    model_a_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The model with the lower key",
    )
    model_b_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
        comment="The model with the higher key",
    )
    split: Mapped[str] = mapped_column(primary_key=True, comment="Split that was compared on")
    fpr_target: Mapped[float] = mapped_column(primary_key=True, comment="False-positive rate of both thresholds on val")
    sample: Mapped[str] = mapped_column(
        primary_key=True, comment="positives (ground-imaging discoveries) or negatives, with scores of both models"
    )
    threshold_a: Mapped[float] = mapped_column(comment="Threshold of model a when it was compared")
    threshold_b: Mapped[float] = mapped_column(comment="Threshold of model b when it was compared")
    n_both_right: Mapped[int] = mapped_column(comment="Objects that both are right about")
    n_only_a_right: Mapped[int] = mapped_column(comment="Objects that only model a is right about")
    n_only_b_right: Mapped[int] = mapped_column(comment="Objects that only model b is right about")
    n_both_wrong: Mapped[int] = mapped_column(comment="Objects that neither is right about")
    error_correlation: Mapped[float | None] = mapped_column(
        comment="Correlation of being right (phi), [-1, 1]; NULL where a model is right, or wrong, about all"
    )
    q_statistic: Mapped[float | None] = mapped_column(
        comment="Yule's Q of being right, [-1, 1]; NULL where its denominator is 0"
    )
    score_correlation: Mapped[float | None] = mapped_column(
        comment="Spearman's rank correlation of the scores; NULL where a model scores all alike"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that compared")
