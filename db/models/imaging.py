"""Cutouts, what was measured on them, and the verdicts before training."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    SmallInteger,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Survey, one_of, probability, sky_position

REASONS = (
    "missing", "unreadable", "pickled", "wrong_shape", "wrong_dtype", "altered", "wrong_layer", "wrong_bands",
    "wrong_grid", "infinite", "no_data", "too_many_nan", "centre_nan", "all_zero", "constant", "saturated",
    "band_order",
)  # fmt: skip
"""Why a cutout is quarantined, in the order in which they are looked for."""

_BANDS = ("g", "r", "z")
CONDITIONS = tuple(
    f"{name}_{band}{unit}"
    for name, unit in (("psf_fwhm", "_arcsec"), ("psfdepth", ""), ("nexp", ""))
    for band in _BANDS
)
"""Columns of a cutout that say how the sky was seen at its centre."""


def _each_band(rule: str) -> str:
    return " AND ".join(rule.format(band) for band in _BANDS)


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
        one_of("conditions_source", ("coadd", "sweep")),
        CheckConstraint(
            f"conditions_source IS NOT NULL OR num_nonnulls({', '.join(CONDITIONS)}) = 0", name="conditions_with_source"
        ),
        CheckConstraint(
            _each_band(
                "(psf_fwhm_{0}_arcsec IS NULL OR (psf_fwhm_{0}_arcsec > 0 AND psf_fwhm_{0}_arcsec < 'Infinity'))"
            ),
            name="psf_fwhm_range",
        ),
        CheckConstraint(
            _each_band("(psfdepth_{0} IS NULL OR (psfdepth_{0} >= 0 AND psfdepth_{0} < 'Infinity'))"),
            name="psfdepth_range",
        ),
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
    psf_fwhm_g_arcsec: Mapped[float | None] = mapped_column(
        comment="PSF full width at half maximum at the centre, g, arcsec; NULL: not known"
    )
    psf_fwhm_r_arcsec: Mapped[float | None] = mapped_column(
        comment="PSF full width at half maximum at the centre, r, arcsec; NULL: not known"
    )
    psf_fwhm_z_arcsec: Mapped[float | None] = mapped_column(
        comment="PSF full width at half maximum at the centre, z, arcsec; NULL: not known"
    )
    psfdepth_g: Mapped[float | None] = mapped_column(
        comment="Point-source depth at the centre, g, nanomaggies^-2; NULL: not known"
    )
    psfdepth_r: Mapped[float | None] = mapped_column(
        comment="Point-source depth at the centre, r, nanomaggies^-2; NULL: not known"
    )
    psfdepth_z: Mapped[float | None] = mapped_column(
        comment="Point-source depth at the centre, z, nanomaggies^-2; NULL: not known"
    )
    nexp_g: Mapped[int | None] = mapped_column(
        SmallInteger, comment="Exposures at the central pixel, g; NULL: not known"
    )
    nexp_r: Mapped[int | None] = mapped_column(
        SmallInteger, comment="Exposures at the central pixel, r; NULL: not known"
    )
    nexp_z: Mapped[int | None] = mapped_column(
        SmallInteger, comment="Exposures at the central pixel, z; NULL: not known"
    )
    conditions_source: Mapped[str | None] = mapped_column(
        comment="Where PSF, depth and exposures are from: coadd (maps of the brick) or sweep (the galaxy's row); "
        "NULL: none known"
    )
    is_registered: Mapped[bool] = mapped_column(
        server_default=false(), comment="Whether the file was there already and was taken in, instead of made here"
    )


class PixelSource(Base):
    """What pixels came from, in one state."""

    __tablename__ = "pixel_source"
    __table_args__ = (
        one_of("kind", ("coadd", "service")),
        UniqueConstraint("uri", "version"),
        {
            "schema": "imaging",
            "comment": "What pixels came from, in the state that it was in: the coadds of one brick, or one answer of "
            "the survey's cutout service.",
        },
    )

    pixel_source_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the source"
    )
    kind: Mapped[str] = mapped_column(comment="coadd (images of one brick) or service (one answer)")
    name: Mapped[str] = mapped_column(comment="Name of the brick, or of the service's layer")
    uri: Mapped[str] = mapped_column(comment="Folder of the brick's files, or address of the request")
    version: Mapped[str] = mapped_column(
        comment="One word for the state of all its files; another word when any of them has changed"
    )
    files: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, comment="Its files: a list of uri, n_bytes, version (ETag, or size and time of change of a local file)"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that first used it")
    seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was first used")


class CutoutSource(Base):
    """A cutout and one source of its pixels."""

    __tablename__ = "cutout_source"
    __table_args__ = (
        {
            "schema": "imaging",
            "comment": "Which sources the pixels of a cutout came from: several where a neighbouring brick filled its "
            "edge.",
        },
    )

    cutout_id: Mapped[int] = mapped_column(
        ForeignKey("imaging.cutout.cutout_id", ondelete="CASCADE"), primary_key=True, comment="The cutout"
    )
    pixel_source_id: Mapped[int] = mapped_column(
        ForeignKey("imaging.pixel_source.pixel_source_id"),
        primary_key=True,
        index=True,
        comment="What some of its pixels came from",
    )


class CutoutMetric(Base):
    """What was measured on one cutout, in two named sets."""

    __tablename__ = "cutout_metric"
    __table_args__ = (
        {
            "schema": "imaging",
            "comment": "Pixel statistics of one sound cutout, nanomaggies per pixel. v1_* reproduce the meta_* of the "
            "published cutouts, audit_* feed the shortcut audit (both r band), border_* (the outermost 5 pixels, every "
            "band) its classifier. NULL where too few pixels have data; border_* also where it was measured before "
            "they were kept: it is measured again.",
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
    border_p5_g: Mapped[float | None] = mapped_column(comment="5th percentile of the border, g")
    border_p25_g: Mapped[float | None] = mapped_column(comment="25th percentile of the border, g")
    border_p50_g: Mapped[float | None] = mapped_column(comment="Median of the border, g")
    border_p75_g: Mapped[float | None] = mapped_column(comment="75th percentile of the border, g")
    border_p95_g: Mapped[float | None] = mapped_column(comment="95th percentile of the border, g")
    border_std_g: Mapped[float | None] = mapped_column(comment="Standard deviation of the border, g")
    border_south_g: Mapped[float | None] = mapped_column(comment="Mean of the south side of the border, g")
    border_north_g: Mapped[float | None] = mapped_column(comment="Mean of the north side of the border, g")
    border_west_g: Mapped[float | None] = mapped_column(comment="Mean of the west side of the border, g")
    border_east_g: Mapped[float | None] = mapped_column(comment="Mean of the east side of the border, g")
    border_p5_r: Mapped[float | None] = mapped_column(comment="5th percentile of the border, r")
    border_p25_r: Mapped[float | None] = mapped_column(comment="25th percentile of the border, r")
    border_p50_r: Mapped[float | None] = mapped_column(comment="Median of the border, r")
    border_p75_r: Mapped[float | None] = mapped_column(comment="75th percentile of the border, r")
    border_p95_r: Mapped[float | None] = mapped_column(comment="95th percentile of the border, r")
    border_std_r: Mapped[float | None] = mapped_column(comment="Standard deviation of the border, r")
    border_south_r: Mapped[float | None] = mapped_column(comment="Mean of the south side of the border, r")
    border_north_r: Mapped[float | None] = mapped_column(comment="Mean of the north side of the border, r")
    border_west_r: Mapped[float | None] = mapped_column(comment="Mean of the west side of the border, r")
    border_east_r: Mapped[float | None] = mapped_column(comment="Mean of the east side of the border, r")
    border_p5_z: Mapped[float | None] = mapped_column(comment="5th percentile of the border, z")
    border_p25_z: Mapped[float | None] = mapped_column(comment="25th percentile of the border, z")
    border_p50_z: Mapped[float | None] = mapped_column(comment="Median of the border, z")
    border_p75_z: Mapped[float | None] = mapped_column(comment="75th percentile of the border, z")
    border_p95_z: Mapped[float | None] = mapped_column(comment="95th percentile of the border, z")
    border_std_z: Mapped[float | None] = mapped_column(comment="Standard deviation of the border, z")
    border_south_z: Mapped[float | None] = mapped_column(comment="Mean of the south side of the border, z")
    border_north_z: Mapped[float | None] = mapped_column(comment="Mean of the north side of the border, z")
    border_west_z: Mapped[float | None] = mapped_column(comment="Mean of the west side of the border, z")
    border_east_z: Mapped[float | None] = mapped_column(comment="Mean of the east side of the border, z")


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


class Quarantine(Base):
    """One cutout that is never trained on."""

    __tablename__ = "quarantine"
    __table_args__ = (
        one_of("reason", REASONS),
        {
            "schema": "imaging",
            "comment": "Cutouts that a validation found unfit: listed, and in no manifest, until a later validation "
            "finds them sound.",
        },
    )

    cutout_id: Mapped[int] = mapped_column(
        ForeignKey("imaging.cutout.cutout_id", ondelete="CASCADE"), primary_key=True, comment="The cutout"
    )
    reason: Mapped[str] = mapped_column(comment="What is wrong with it, one word: the first that was found")
    detail: Mapped[str] = mapped_column(comment="The file and what was found, in one line")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that found it")
    found_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was found")


class Validation(Base):
    """The verdict on a draw's cutouts, which training obeys."""

    __tablename__ = "validation"
    __table_args__ = (
        {
            "schema": "imaging",
            "comment": "The last verdict on a draw's cutouts of one version, and which cutouts it is about; training "
            "obeys it. Its rules are in imaging.gate.",
        },
    )

    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, comment="The draw"
    )
    version: Mapped[str] = mapped_column(primary_key=True, comment="Version of the cutout set")
    is_go: Mapped[bool] = mapped_column(comment="GO: every rule passed")
    n_cutouts: Mapped[int] = mapped_column(comment="Usable cutouts of the draw: stored and not quarantined")
    cutouts_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the lines `cutout_id sha256` of the usable cutouts, by cutout_id, hexadecimal"
    )
    n_quarantined: Mapped[int] = mapped_column(comment="Cutouts of the draw that are quarantined")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that judged")
    validated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was judged")


class ShortcutFeature(Base):
    """How well one feature alone tells positives from negatives."""

    __tablename__ = "shortcut_feature"
    __table_args__ = (
        one_of("kind", ("image", "metadata", "border")),
        one_of("verdict", ("green", "yellow", "red")),
        probability("auc_raw"),
        probability("auc_matched", or_null=True),
        probability("auc_adjusted", or_null=True),
        one_of("judged_by", ("raw", "matched", "adjusted")),
        {
            "schema": "imaging",
            "comment": "Shortcut audit: how well one feature (or one classifier) alone separates the classes, raw, "
            "matched on r magnitude, type, PSF and depth, and adjusted besides. AUC folded as max(AUC, 1 - AUC).",
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
    auc_lo: Mapped[float | None] = mapped_column(comment="2.5 % of the AUC judged by, bootstrap by sky cell")
    auc_hi: Mapped[float | None] = mapped_column(comment="97.5 % of the AUC judged by, bootstrap by sky cell")
    verdict: Mapped[str] = mapped_column(comment="By auc_lo: < 0.60 green, <= 0.70 yellow, else red")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that judged")
    auc_adjusted: Mapped[float | None] = mapped_column(
        comment="Folded AUC of what matched objects have left of the feature after regression on brightness, shape and "
        "conditions; NULL for classifiers and where too few remain"
    )
    judged_by: Mapped[str] = mapped_column(comment="Which AUC the interval and the verdict are of")


class Pack(Base):
    """The cutouts of one manifest in a few large files."""

    __tablename__ = "pack"
    __table_args__ = (
        one_of("dtype", ("float16", "float32")),
        one_of("status", ("writing", "complete")),
        CheckConstraint("manifest_sha256 ~ '^[0-9a-f]{64}$'", name="manifest_sha256_hex"),
        CheckConstraint("n_cutouts > 0 AND crop_px > 0 AND shard_rows > 0", name="sizes_positive"),
        CheckConstraint(
            "(status = 'complete') = (index_uri IS NOT NULL) AND (index_uri IS NULL) = (index_sha256 IS NULL) "
            "AND (index_uri IS NULL) = (index_n_bytes IS NULL)",
            name="index_when_complete",
        ),
        UniqueConstraint(
            "draw_id", "scheme_id", "version", "manifest_sha256", "crop_px", "dtype", name="uq_pack_manifest_layout"
        ),
        {
            "schema": "imaging",
            "comment": "The cutouts of one manifest in a few large memory-mappable files (shards): pixels in "
            "nanomaggies, cropped about the centre, in the manifest's order (by cutout_id). A manifest that changed "
            "gets another pack.",
        },
    )

    pack_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the pack")
    draw_id: Mapped[int] = mapped_column(ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), comment="The draw")
    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id", ondelete="CASCADE"), comment="The split scheme"
    )
    version: Mapped[str] = mapped_column(comment="Version of the cutout set")
    manifest_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the manifest's sorted cutout ids, splits and file hashes, hexadecimal, as in training.model"
    )
    bands: Mapped[str] = mapped_column(comment="Bands in the order of the last axis: grz")
    crop_px: Mapped[int] = mapped_column(
        comment="Pixels along each side; the object's pixel is crop_px / 2, rounded down"
    )
    dtype: Mapped[str] = mapped_column(comment="Type of a pixel, little-endian: float16 or float32")
    axis_order: Mapped[str] = mapped_column(comment="What the axes of a shard count, slowest first: cutout,y,x,band")
    format: Mapped[str] = mapped_column(comment="File format of the shards: npy (numpy's, version 1.0)")
    n_cutouts: Mapped[int] = mapped_column(comment="Cutouts in all shards")
    shard_rows: Mapped[int] = mapped_column(comment="Cutouts in every shard but the last, which may hold fewer")
    status: Mapped[str] = mapped_column(comment="writing (interrupted: pack again, it goes on) or complete")
    index_uri: Mapped[str | None] = mapped_column(
        comment="Address of the Parquet file with cutout_id and sha256 of every row; NULL until complete"
    )
    index_sha256: Mapped[str | None] = mapped_column(comment="SHA-256 of that file, hexadecimal; NULL until complete")
    index_n_bytes: Mapped[int | None] = mapped_column(
        BigInteger, comment="Size of that file in bytes; NULL until complete"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that began it")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was begun")


class PackShard(Base):
    """One file of a pack."""

    __tablename__ = "pack_shard"
    __table_args__ = (
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_hex"),
        CheckConstraint("shard >= 0 AND first_row >= 0 AND n_rows > 0 AND n_bytes > 0", name="sizes_positive"),
        UniqueConstraint("uri"),
        {"schema": "imaging", "comment": "One file of a pack: consecutive rows of the manifest."},
    )

    pack_id: Mapped[int] = mapped_column(
        ForeignKey("imaging.pack.pack_id", ondelete="CASCADE"), primary_key=True, comment="The pack"
    )
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Number of the shard, from 0")
    uri: Mapped[str] = mapped_column(comment="Address of the file")
    sha256: Mapped[str] = mapped_column(comment="SHA-256 of the file, hexadecimal")
    n_bytes: Mapped[int] = mapped_column(BigInteger, comment="Size of the file in bytes")
    first_row: Mapped[int] = mapped_column(comment="Row of the manifest that is its first, from 0")
    n_rows: Mapped[int] = mapped_column(comment="Rows in it")
