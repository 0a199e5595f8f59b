"""Rates by observing condition, and which run the published numbers of a split are of (schema evaluation)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Split, one_of, probability
from db.models.evaluation import SAMPLES

AXES = (
    "all",
    "nobs_z",
    "psf_fwhm_z_arcsec",
    "galdepth_z_ab",
    "ebv_mag",
    "dec",
    "mag_r_ab",
    "type",
    "grade",
    "domain",
)
"""Conditions that rates are compared across; `all` pools over everything."""


class ConditionTally(Base):
    """k of n objects at or above a threshold, in one bin of one condition."""

    __tablename__ = "condition_tally"
    __table_args__ = (
        one_of("split", Split),
        one_of("sample", SAMPLES),
        one_of("axis", AXES),
        CheckConstraint("k >= 0 AND k <= n", name="k_within_n"),
        CheckConstraint("n_cells >= 0 AND n_cells <= n", name="cells_within_n"),
        CheckConstraint("bin_lo < bin_hi", name="bin_ordered"),
        CheckConstraint("(boot_lo IS NULL) = (boot_hi IS NULL)", name="both_ends"),
        CheckConstraint("boot_lo >= 0 AND boot_lo <= boot_hi AND boot_hi <= 1", name="ends_ordered"),
        CheckConstraint("(p_value IS NULL) = (p_holm IS NULL) AND p_value <= p_holm", name="correction_only_raises"),
        probability("p_value", or_null=True),
        probability("p_holm", or_null=True),
        {
            "schema": "evaluation",
            "comment": "k of n objects of a sample at or above an operating point's threshold, in one bin of one "
            "observing condition or kind of object; bins without objects have no row.",
        },
    )

    operating_point_id: Mapped[int] = mapped_column(
        ForeignKey("evaluation.operating_point.operating_point_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The operating point",
    )
    split: Mapped[str] = mapped_column(primary_key=True, comment="Split that was counted")
    sample: Mapped[str] = mapped_column(primary_key=True, comment="Objects counted, as in evaluation.tally")
    axis: Mapped[str] = mapped_column(
        primary_key=True,
        comment="all (pooled); nobs_z (exposures), psf_fwhm_z_arcsec, galdepth_z_ab (5 sigma), ebv_mag, dec (degrees), "
        "mag_r_ab (not dereddened), type (Tractor), grade (best letter that any paper gave), domain (halves of the "
        "condition that a model was trained on half of)",
    )
    bin: Mapped[str] = mapped_column(
        primary_key=True, comment="Name of the bin; unknown: the condition is not known, as without a Tractor match"
    )
    bin_lo: Mapped[float | None] = mapped_column(
        comment="Lower edge, inside, in the axis' unit; NULL: open, unknown or a word"
    )
    bin_hi: Mapped[float | None] = mapped_column(
        comment="Upper edge, outside, in the axis' unit; NULL: open, unknown or a word"
    )
    k: Mapped[int] = mapped_column(comment="Objects at or above the threshold")
    n: Mapped[int] = mapped_column(comment="Objects counted")
    n_cells: Mapped[int] = mapped_column(comment="HEALPix cells (nside 128) that they lie in")
    boot_lo: Mapped[float | None] = mapped_column(
        comment="Lower end of the rate's 95 % percentile interval, cells resampled; NULL where n < 10 or k is 0 or n, "
        "which resampling cannot move"
    )
    boot_hi: Mapped[float | None] = mapped_column(comment="Upper end of that interval; NULL where the lower one is")
    p_value: Mapped[float | None] = mapped_column(
        comment="Two-sided p-value of Fisher's exact test of this bin's rate against the rest of its axis; NULL where "
        "either has n < 10"
    )
    p_holm: Mapped[float | None] = mapped_column(
        comment="The same after Holm's correction over all bins compared of this operating point, split and sample"
    )


class EvaluatedSplit(Base):
    """Which run the published numbers of a model on a split are of."""

    __tablename__ = "evaluated_split"
    __table_args__ = (
        one_of("split", Split),
        {
            "schema": "evaluation",
            "comment": "Which run the published numbers of a model on a split are of; what was read of the test split "
            "and when is in evaluation.test_access.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    split: Mapped[str] = mapped_column(primary_key=True, comment="The split")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that evaluated it")
    evaluated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was evaluated")
