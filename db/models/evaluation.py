"""What Python computed for the published views: thresholds, counts, intervals, and who read the test split."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Split, one_of, probability
from db.models.sampling import CONFUSER_CATEGORIES, NOBS_Z_BINS, STRATUM_TYPES

SAMPLES = (
    "tier_a",
    "tier_b",
    "tier_ab",
    "tier_ab_graded",
    "not_ground_imaging",
    "held_out",
    "held_out_all",
    "negatives",
    "N1",
    "N2",
)
"""Objects that are counted together."""


class OperatingPoint(Base):
    """A threshold of a model, chosen on the validation split."""

    __tablename__ = "operating_point"
    __table_args__ = (
        UniqueConstraint("model_id", "fpr_target"),
        one_of("split", Split),
        probability("threshold"),
        CheckConstraint("fpr_target > 0 AND fpr_target < 1", name="fpr_target_range"),
        CheckConstraint("n_exceedances >= 0 AND n_exceedances <= n_negatives", name="exceedances_within_negatives"),
        {
            "schema": "evaluation",
            "comment": "A threshold of a model for a target false-positive rate, chosen on the negatives of the "
            "validation split.",
        },
    )

    operating_point_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the point")
    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), comment="The model"
    )
    fpr_target: Mapped[float] = mapped_column(comment="False-positive rate aimed at: 1e-2, 1e-3, 1e-4")
    split: Mapped[str] = mapped_column(comment="Split that the threshold was chosen on: val")
    threshold: Mapped[float] = mapped_column(comment="A score at or above it is a detection")
    n_negatives: Mapped[int] = mapped_column(comment="Negatives used to choose it")
    n_exceedances: Mapped[int] = mapped_column(
        comment="Negatives at or above it; fewer than 10 makes the threshold itself uncertain"
    )


class Tally(Base):
    """k of n objects at or above a threshold, in one part of one split."""

    __tablename__ = "tally"
    __table_args__ = (
        UniqueConstraint(
            "operating_point_id",
            "split",
            "sample",
            "nobs_z_bin",
            "type",
            "category",
            postgresql_nulls_not_distinct=True,
            name="uq_tally_grain",
        ),
        one_of("split", Split),
        one_of("sample", SAMPLES),
        one_of("nobs_z_bin", (*NOBS_Z_BINS, "none")),
        one_of("type", (*STRATUM_TYPES, "none")),
        one_of("category", CONFUSER_CATEGORIES),
        CheckConstraint("k >= 0 AND k <= n", name="k_within_n"),
        {
            "schema": "evaluation",
            "comment": "k of n objects of a sample at or above an operating point's threshold. A NULL axis is "
            "pooled over.",
        },
    )

    tally_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the count"
    )
    operating_point_id: Mapped[int] = mapped_column(
        ForeignKey("evaluation.operating_point.operating_point_id", ondelete="CASCADE"),
        comment="The operating point",
    )
    split: Mapped[str] = mapped_column(comment="Split that was counted")
    sample: Mapped[str] = mapped_column(
        comment="tier_a, tier_b, tier_ab (ground-imaging discoveries: headline recall); tier_ab_graded (tier A, and "
        "tier B with a letter grade); not_ground_imaging (positives found otherwise); held_out (discoveries kept from "
        "training, in cells of the split), held_out_all (the same wherever they lie, counted with test); N1, N2, "
        "negatives"
    )
    nobs_z_bin: Mapped[str | None] = mapped_column(
        comment="Stratum's bin of z exposures; `none`: positives without a stratum; NULL: pooled"
    )
    type: Mapped[str | None] = mapped_column(
        comment="Stratum's Tractor type; `none`: positives without a stratum; NULL: pooled"
    )
    category: Mapped[str | None] = mapped_column(comment="Kind of confuser (N2 only); NULL: pooled")
    k: Mapped[int] = mapped_column(comment="Objects at or above the threshold")
    n: Mapped[int] = mapped_column(comment="Objects counted")


class Interval(Base):
    """A binomial interval, computed once for each k, n, method and level."""

    __tablename__ = "interval"
    __table_args__ = (
        one_of("method", ("wilson", "jeffreys")),
        CheckConstraint("k >= 0 AND k <= n AND n > 0", name="k_within_n"),
        CheckConstraint("lo >= 0 AND lo <= hi AND hi <= 1", name="ends_ordered"),
        CheckConstraint("level > 0 AND level < 1", name="level_range"),
        {
            "schema": "evaluation",
            "comment": "A binomial confidence interval, a pure function of its key; views join it by "
            "(k, n, method, level).",
        },
    )

    k: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Successes")
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Trials")
    method: Mapped[str] = mapped_column(primary_key=True, comment="wilson or jeffreys")
    level: Mapped[float] = mapped_column(primary_key=True, autoincrement=False, comment="Confidence level: 0.95")
    lo: Mapped[float] = mapped_column(comment="Lower end")
    hi: Mapped[float] = mapped_column(comment="Upper end")


class Metric(Base):
    """A number about a model that is not a count."""

    __tablename__ = "metric"
    __table_args__ = (
        one_of("split", Split),
        CheckConstraint("lo IS NULL OR (lo <= value AND value <= hi)", name="value_within_interval"),
        CheckConstraint("(lo IS NULL) = (hi IS NULL) AND (lo IS NULL) = (method IS NULL)", name="interval_with_method"),
        {
            "schema": "evaluation",
            "comment": "A number about a model on one split: AUC, AUC with shuffled labels, ...",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    split: Mapped[str] = mapped_column(primary_key=True, comment="Split that it was measured on")
    name: Mapped[str] = mapped_column(
        primary_key=True,
        comment="auc, partial_auc (FPR <= 1e-2, McClish-standardised), partial_auc_raw (the area itself, at most 0.01)"
        ", tpr0 (recall above the highest negative); with _tier_a, _tier_a_grade_a, _tier_ab_graded, ... of those "
        "positives against all negatives; ...",
    )
    value: Mapped[float] = mapped_column(comment="The number")
    lo: Mapped[float | None] = mapped_column(comment="Lower end of the 95 % interval; NULL where none was computed")
    hi: Mapped[float | None] = mapped_column(comment="Upper end of the 95 % interval; NULL where none was computed")
    method: Mapped[str | None] = mapped_column(comment="How the interval was made: bootstrap by sky cell, ...")
    n_positives: Mapped[int] = mapped_column(comment="Positives used")
    n_negatives: Mapped[int] = mapped_column(comment="Negatives used")


class TestAccess(Base):
    """One reading of the test split."""

    __tablename__ = "test_access"
    __table_args__ = (
        {
            "schema": "evaluation",
            "comment": "Every reading of the test split; the count stands beside every test result.",
        },
    )

    access_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the reading")
    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), index=True, comment="The model evaluated"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that read it")
    purpose: Mapped[str] = mapped_column(comment="Why it was read")
    accessed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was read")
