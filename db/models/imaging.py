"""Cutouts, what was measured on them, and the verdicts before training."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    SmallInteger,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Survey, one_of, probability, sky_position


class Cutout(Base):
    """One image of one object."""

    __tablename__ = "cutout"
    __table_args__ = (
        *sky_position(),
        one_of("survey", Survey),
        one_of("status", ("ok", "partial", "rejected")),
        one_of("source", ("coadd", "service")),
        CheckConstraint("num_nonnulls(lens_id, ls_id) = 1", name="one_object"),
        CheckConstraint("(status = 'rejected') = (reject_reason IS NOT NULL)", name="reason_when_rejected"),
        CheckConstraint("(status = 'rejected') = (uri IS NULL)", name="uri_unless_rejected"),
        CheckConstraint("(uri IS NULL) = (sha256 IS NULL) AND (uri IS NULL) = (n_bytes IS NULL)", name="uri_with_hash"),
        CheckConstraint("nan_fraction >= 0 AND nan_fraction <= 1", name="nan_fraction_range"),
        UniqueConstraint("uri"),
        UniqueConstraint("lens_id", "survey", "layer", "version"),
        UniqueConstraint("ls_id", "layer", "version"),
        {
            "schema": "imaging",
            "comment": "One cutout: g, r, z pixels in nanomaggies around a lens (lens_id) or a pool galaxy (ls_id).",
        },
    )

    cutout_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the cutout"
    )
    survey: Mapped[str] = mapped_column(comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, comment="Data release of the survey: 10")
    lens_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("catalog.lens.lens_id"), comment="The lens at its centre; NULL for a negative"
    )
    ls_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("catalog.galaxy.ls_id"),
        comment="The galaxy at its centre; NULL for a positive",
    )
    ra: Mapped[float] = mapped_column(comment="Right ascension of the centre, degrees")
    dec: Mapped[float] = mapped_column(comment="Declination of the centre, degrees")
    version: Mapped[str] = mapped_column(comment="Version of the cutout set, part of the key: v1, ...")
    layer: Mapped[str] = mapped_column(comment="Imaging layer: ls-dr10-south, or mock")
    source: Mapped[str] = mapped_column(comment="coadd (brick images) or service (the survey's cutout service)")
    brickname: Mapped[str] = mapped_column(comment="Brick whose coadds the pixels come from")
    uri: Mapped[str | None] = mapped_column(comment="Address of the npz file; NULL when rejected")
    sha256: Mapped[str | None] = mapped_column(comment="SHA-256 of the file, hexadecimal; NULL when rejected")
    n_bytes: Mapped[int | None] = mapped_column(comment="Size of the file in bytes; NULL when rejected")
    bands: Mapped[str] = mapped_column(comment="Bands in the order of the last axis: grz")
    n_pixels: Mapped[int] = mapped_column(SmallInteger, comment="Pixels along each side: 101")
    pixel_scale_arcsec: Mapped[float] = mapped_column(comment="Pixel scale, arcsec per pixel: 0.262")
    nan_fraction: Mapped[float] = mapped_column(comment="Fraction of pixels without data, the worst band")
    status: Mapped[str] = mapped_column(
        comment="ok; partial (some pixels missing, within the limits); rejected (too many, or near the centre)"
    )
    reject_reason: Mapped[str | None] = mapped_column(comment="Why it was rejected; NULL otherwise")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that made it")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was made")


class CutoutMetric(Base):
    """What was measured on one cutout, in two named sets."""

    __tablename__ = "cutout_metric"
    __table_args__ = (
        {
            "schema": "imaging",
            "comment": "Pixel statistics of one cutout, r band, nanomaggies per pixel. v1_* reproduce the meta_* of "
            "the published cutouts; audit_* feed the shortcut audit. NULL where too few pixels have data.",
        },
    )

    cutout_id: Mapped[int] = mapped_column(
        ForeignKey("imaging.cutout.cutout_id", ondelete="CASCADE"), primary_key=True, comment="The cutout"
    )
    v1_core_brightness_r: Mapped[float | None] = mapped_column(comment="Median of r <= 8 px")
    v1_core_max_r: Mapped[float | None] = mapped_column(comment="Maximum of r <= 8 px")
    v1_annulus_brightness_r: Mapped[float | None] = mapped_column(comment="Median of 20 <= r <= 40 px")
    v1_annulus_std_r: Mapped[float | None] = mapped_column(comment="Standard deviation of 20 <= r <= 40 px")
    v1_outer_brightness_r: Mapped[float | None] = mapped_column(comment="Median of the outer region of the image")
    v1_radial_gradient_r: Mapped[float | None] = mapped_column(comment="Core median minus outer median")
    v1_mad_r: Mapped[float | None] = mapped_column(comment="Median absolute deviation of the image, without 1.4826")
    v1_std_r: Mapped[float | None] = mapped_column(comment="Standard deviation of the image")
    v1_median_r: Mapped[float | None] = mapped_column(comment="Median of the image")
    v1_mean_r: Mapped[float | None] = mapped_column(comment="Mean of the image")
    v1_percentile_1_r: Mapped[float | None] = mapped_column(comment="1st percentile of the image")
    v1_percentile_99_r: Mapped[float | None] = mapped_column(comment="99th percentile of the image")
    v1_clip_frac_r: Mapped[float | None] = mapped_column(
        comment="Fraction of pixels outside the 1st to 99th percentile"
    )
    audit_core_4px_r: Mapped[float | None] = mapped_column(comment="Mean of r < 4 px")
    audit_core_8px_r: Mapped[float | None] = mapped_column(comment="Mean of r < 8 px")
    audit_core_12px_r: Mapped[float | None] = mapped_column(comment="Mean of r < 12 px")
    audit_annulus_mean_r: Mapped[float | None] = mapped_column(comment="Mean of 4 <= r < 16 px")
    audit_annulus_max_r: Mapped[float | None] = mapped_column(comment="Maximum of 4 <= r < 16 px")
    audit_annulus_std_r: Mapped[float | None] = mapped_column(comment="Standard deviation of 4 <= r < 16 px")
    audit_outer_r: Mapped[float | None] = mapped_column(comment="Mean of 16 <= r < 28 px")
    audit_mad_r: Mapped[float | None] = mapped_column(comment="Median absolute deviation of the image, without 1.4826")
    audit_radial_gradient_r: Mapped[float | None] = mapped_column(
        comment="Mean of r < 4 px minus mean of 16 <= r < 28 px"
    )
    audit_asymmetry_r: Mapped[float | None] = mapped_column(
        comment="Azimuthal asymmetry: standard deviation of the means of 8 sectors of 4 <= r < 16 px"
    )
    audit_border_r: Mapped[float | None] = mapped_column(comment="Mean of the outermost 5 pixels on each side")


class Gate(Base):
    """One rule of the validation of a draw's cutouts."""

    __tablename__ = "gate"
    __table_args__ = (
        {
            "schema": "imaging",
            "comment": "One rule of a draw's validation; the draw is GO when every rule passed.",
        },
    )

    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, comment="The draw"
    )
    version: Mapped[str] = mapped_column(primary_key=True, comment="Version of the cutout set")
    rule: Mapped[str] = mapped_column(primary_key=True, comment="Name of the rule")
    value: Mapped[float] = mapped_column(comment="What was measured")
    limit_value: Mapped[float] = mapped_column(comment="What the rule allows")
    is_passed: Mapped[bool] = mapped_column(comment="The verdict")
    detail: Mapped[str] = mapped_column(comment="The rule in words")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that judged")


class ShortcutFeature(Base):
    """How well one feature alone tells positives from negatives."""

    __tablename__ = "shortcut_feature"
    __table_args__ = (
        one_of("kind", ("image", "metadata", "border")),
        one_of("verdict", ("green", "yellow", "red")),
        probability("auc_raw"),
        probability("auc_matched", or_null=True),
        {
            "schema": "imaging",
            "comment": "Shortcut audit: how well one feature (or one classifier) alone separates the classes, raw and "
            "matched on r magnitude, type, PSF and depth. AUC folded as max(AUC, 1 - AUC).",
        },
    )

    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, comment="The draw"
    )
    version: Mapped[str] = mapped_column(primary_key=True, comment="Version of the cutout set")
    feature: Mapped[str] = mapped_column(primary_key=True, comment="Name of the feature or classifier")
    kind: Mapped[str] = mapped_column(comment="image, metadata or border")
    is_expected_physics: Mapped[bool] = mapped_column(
        comment="True where lensing itself changes the feature (asymmetry, annulus): red is then no fault"
    )
    n_positives: Mapped[int] = mapped_column(comment="Positives used")
    n_negatives: Mapped[int] = mapped_column(comment="Negatives used")
    n_matched_positives: Mapped[int] = mapped_column(comment="Positives left after matching")
    auc_raw: Mapped[float] = mapped_column(comment="Folded AUC of all objects")
    auc_matched: Mapped[float | None] = mapped_column(comment="Folded AUC after matching; NULL if too few remain")
    auc_lo: Mapped[float | None] = mapped_column(comment="2.5 % of auc_matched, bootstrap by sky cell")
    auc_hi: Mapped[float | None] = mapped_column(comment="97.5 % of auc_matched, bootstrap by sky cell")
    verdict: Mapped[str] = mapped_column(comment="By auc_lo: < 0.60 green, <= 0.70 yellow, else red")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that judged")
