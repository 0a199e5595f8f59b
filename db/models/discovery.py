"""Lenses that models were never taught, and the candidates that it finds where none is known."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, probability


class HeldOut(Base):
    """A lens that no model of a draw has been taught, and that can test them all."""

    __tablename__ = "held_out"
    __table_args__ = (
        {
            "schema": "evaluation",
            "comment": "A lens claim found in ground-based imaging, without a training tier, that is no member of the "
            "draw and has no training lens within 11 arcsec; `stronglens score` keeps the list.",
        },
    )

    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, comment="The draw"
    )
    lens_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("catalog.lens.lens_id"), primary_key=True, index=True, comment="The lens"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that found it held out")


class DiscoveryCut(Base):
    """Where the top fraction of the survey begins, by one model's scores."""

    __tablename__ = "discovery_cut"
    __table_args__ = (
        CheckConstraint("fraction > 0 AND fraction < 1", name="fraction_range"),
        CheckConstraint("prevalence > 0 AND prevalence < 1", name="prevalence_range"),
        probability("threshold"),
        CheckConstraint(
            "threshold_lo >= 0 AND threshold_lo <= threshold_hi AND threshold_hi <= 1", name="ends_ordered"
        ),
        CheckConstraint("n_above > 0 AND n_above <= n_sample", name="above_within_sample"),
        CheckConstraint(
            "n_effective > 0 AND n_survey > 0 AND n_survey < 'Infinity' AND n_above_effective > 0",
            name="numbers_positive",
        ),
        CheckConstraint("n_known >= 0 AND n_candidates >= 0", name="counts_not_negative"),
        {
            "schema": "evaluation",
            "comment": "The score that a fraction of the survey's galaxies reach: a quantile of the survey, since each "
            "object, none of them trained on, counts for as many galaxies as it stands for.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    fraction: Mapped[float] = mapped_column(comment="Fraction of the survey's galaxies asked for: 1e-4")
    prevalence: Mapped[float] = mapped_column(comment="Lenses among the survey's galaxies that probabilities assume")
    threshold: Mapped[float] = mapped_column(comment="The highest score that at least this fraction reaches")
    threshold_lo: Mapped[float] = mapped_column(comment="Lower end of its 95 % interval, bootstrap by sky cell")
    threshold_hi: Mapped[float] = mapped_column(comment="Upper end of its 95 % interval")
    n_bootstrap: Mapped[int] = mapped_column(comment="Replicates of the bootstrap")
    n_sample: Mapped[int] = mapped_column(
        comment="Objects of val, and of test where it was read, that the quantile is of"
    )
    n_effective: Mapped[float] = mapped_column(comment="Objects of equal weight that would say as much (Kish)")
    n_survey: Mapped[float] = mapped_column(comment="Galaxies of the survey that they stand for: the sum of weights")
    n_above: Mapped[int] = mapped_column(
        comment="Objects of the sample at or above the threshold; fewer than 10 makes it uncertain"
    )
    n_above_effective: Mapped[float] = mapped_column(comment="Those, as objects of equal weight (Kish)")
    n_known: Mapped[int] = mapped_column(
        comment="Scored objects at or above the threshold that are known lenses or near one"
    )
    is_test_read: Mapped[bool] = mapped_column(
        comment="Whether objects of the test split were read, for the quantile and as candidates"
    )
    n_candidates: Mapped[int] = mapped_column(comment="All others at or above it: rows of evaluation.discovery")
    checked_at: Mapped[dt.datetime] = mapped_column(
        server_default=func.now(), comment="When they were compared with every known lens"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that found it")


class Discovery(Base):
    """A galaxy that a model takes for a lens, and nobody has published as one."""

    __tablename__ = "discovery"
    __table_args__ = (
        ForeignKeyConstraint(
            ["model_id"], ["evaluation.discovery_cut.model_id"], ondelete="CASCADE", name="fk_discovery_cut"
        ),
        Index("uq_discovery_model_id_rank", "model_id", "rank", unique=True),
        probability("score"),
        CheckConstraint("rank > 0", name="rank_from_one"),
        CheckConstraint("survey_quantile >= 0 AND survey_quantile <= 1", name="survey_quantile_range"),
        CheckConstraint(
            "(probability IS NULL) = (probability_lo IS NULL) AND (probability IS NULL) = (probability_hi IS NULL)",
            name="interval_with_probability",
        ),
        CheckConstraint(
            "probability IS NULL OR (probability_lo >= 0 AND probability_lo <= probability "
            "AND probability <= probability_hi AND probability_hi <= 1)",
            name="probability_within_interval",
        ),
        {
            "schema": "evaluation",
            "comment": "A candidate: a galaxy in the survey's top fraction by a model's score that lay within 11 "
            "arcsec of no lens or cluster core known then. Replaced when `stronglens discover` is run anew.",
        },
    )

    model_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="The model")
    cutout_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("imaging.cutout.cutout_id"), primary_key=True, index=True, comment="Its cutout"
    )
    rank: Mapped[int] = mapped_column(comment="Place by score, from 1; ties by cutout")
    score: Mapped[float] = mapped_column(comment="The model's score")
    survey_quantile: Mapped[float] = mapped_column(
        comment="Fraction of the survey's galaxies that reach this score, estimated; 0: none of the sample does"
    )
    probability: Mapped[float | None] = mapped_column(
        comment="Calibrated probability of a lens at the prevalence of the cut; NULL without a calibration"
    )
    probability_lo: Mapped[float | None] = mapped_column(comment="Lower end of its 95 % interval; NULL without it")
    probability_hi: Mapped[float | None] = mapped_column(comment="Upper end of its 95 % interval; NULL without it")
    is_trained_on: Mapped[bool] = mapped_column(
        comment="Whether the model was taught that it is a negative: its score is then too low, if anything"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that found it")
