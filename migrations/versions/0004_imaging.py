"""Imaging: cutouts, their metrics, gates and the shortcut audit.

From: revision 0003
To: revision 0004
Why: images are traceable and audited before training.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA imaging")
    op.create_table(
        "cutout",
        sa.Column("cutout_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the cutout"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("lens_id", sa.BigInteger(), nullable=True, comment="The lens at its centre; NULL for a negative"),
        sa.Column("ls_id", sa.BigInteger(), nullable=True, comment="The galaxy at its centre; NULL for a positive"),
        sa.Column("ra", sa.Double(), nullable=False, comment="Right ascension of the centre, degrees"),
        sa.Column("dec", sa.Double(), nullable=False, comment="Declination of the centre, degrees"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of the cutout set, part of the key: v1, ..."),
        sa.Column("layer", sa.Text(), nullable=False, comment="Imaging layer: ls-dr10-south, or mock"),
        sa.Column(
            "source", sa.Text(), nullable=False, comment="coadd (brick images) or service (the survey's cutout service)"
        ),
        sa.Column("brickname", sa.Text(), nullable=False, comment="Brick whose coadds the pixels come from"),
        sa.Column("uri", sa.Text(), nullable=True, comment="Address of the npz file; NULL when rejected"),
        sa.Column("sha256", sa.Text(), nullable=True, comment="SHA-256 of the file, hexadecimal; NULL when rejected"),
        sa.Column("n_bytes", sa.Integer(), nullable=True, comment="Size of the file in bytes; NULL when rejected"),
        sa.Column("bands", sa.Text(), nullable=False, comment="Bands in the order of the last axis: grz"),
        sa.Column("n_pixels", sa.SmallInteger(), nullable=False, comment="Pixels along each side: 101"),
        sa.Column("pixel_scale_arcsec", sa.Double(), nullable=False, comment="Pixel scale, arcsec per pixel: 0.262"),
        sa.Column(
            "nan_fraction", sa.Double(), nullable=False, comment="Fraction of pixels without data, the worst band"
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="ok; partial (some pixels missing, within the limits); rejected (too many, or near the centre)",
        ),
        sa.Column("reject_reason", sa.Text(), nullable=True, comment="Why it was rejected; NULL otherwise"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that made it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was made",
        ),
        sa.CheckConstraint(
            "(status = 'rejected') = (reject_reason IS NOT NULL)", name=op.f("ck_cutout_reason_when_rejected")
        ),
        sa.CheckConstraint("(status = 'rejected') = (uri IS NULL)", name=op.f("ck_cutout_uri_unless_rejected")),
        sa.CheckConstraint("source IN ('coadd', 'service')", name=op.f("ck_cutout_source_known")),
        sa.CheckConstraint("status IN ('ok', 'partial', 'rejected')", name=op.f("ck_cutout_status_known")),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_cutout_survey_known")),
        sa.CheckConstraint(
            "(uri IS NULL) = (sha256 IS NULL) AND (uri IS NULL) = (n_bytes IS NULL)",
            name=op.f("ck_cutout_uri_with_hash"),
        ),
        sa.CheckConstraint("dec >= -90 AND dec <= 90", name=op.f("ck_cutout_dec_range")),
        sa.CheckConstraint("nan_fraction >= 0 AND nan_fraction <= 1", name=op.f("ck_cutout_nan_fraction_range")),
        sa.CheckConstraint("num_nonnulls(lens_id, ls_id) = 1", name=op.f("ck_cutout_one_object")),
        sa.CheckConstraint("ra >= 0 AND ra < 360", name=op.f("ck_cutout_ra_range")),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_cutout_lens_id_lens")),
        sa.ForeignKeyConstraint(["ls_id"], ["catalog.galaxy.ls_id"], name=op.f("fk_cutout_ls_id_galaxy")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_cutout_run_id_run")),
        sa.PrimaryKeyConstraint("cutout_id", name=op.f("pk_cutout")),
        sa.UniqueConstraint(
            "lens_id", "survey", "layer", "version", name=op.f("uq_cutout_lens_id_survey_layer_version")
        ),
        sa.UniqueConstraint("ls_id", "layer", "version", name=op.f("uq_cutout_ls_id_layer_version")),
        sa.UniqueConstraint("uri", name=op.f("uq_cutout_uri")),
        schema="imaging",
        comment="One cutout: g, r, z pixels in nanomaggies around a lens (lens_id) or a pool galaxy (ls_id).",
    )
    op.create_table(
        "cutout_metric",
        sa.Column("cutout_id", sa.BigInteger(), nullable=False, comment="The cutout"),
        sa.Column("v1_core_brightness_r", sa.Double(), nullable=True, comment="Median of r <= 8 px"),
        sa.Column("v1_core_max_r", sa.Double(), nullable=True, comment="Maximum of r <= 8 px"),
        sa.Column("v1_annulus_brightness_r", sa.Double(), nullable=True, comment="Median of 20 <= r <= 40 px"),
        sa.Column("v1_annulus_std_r", sa.Double(), nullable=True, comment="Standard deviation of 20 <= r <= 40 px"),
        sa.Column(
            "v1_outer_brightness_r", sa.Double(), nullable=True, comment="Median of the outer region of the image"
        ),
        sa.Column("v1_radial_gradient_r", sa.Double(), nullable=True, comment="Core median minus outer median"),
        sa.Column(
            "v1_mad_r", sa.Double(), nullable=True, comment="Median absolute deviation of the image, without 1.4826"
        ),
        sa.Column("v1_std_r", sa.Double(), nullable=True, comment="Standard deviation of the image"),
        sa.Column("v1_median_r", sa.Double(), nullable=True, comment="Median of the image"),
        sa.Column("v1_mean_r", sa.Double(), nullable=True, comment="Mean of the image"),
        sa.Column("v1_percentile_1_r", sa.Double(), nullable=True, comment="1st percentile of the image"),
        sa.Column("v1_percentile_99_r", sa.Double(), nullable=True, comment="99th percentile of the image"),
        sa.Column(
            "v1_clip_frac_r",
            sa.Double(),
            nullable=True,
            comment="Fraction of pixels outside the 1st to 99th percentile",
        ),
        sa.Column("audit_core_4px_r", sa.Double(), nullable=True, comment="Mean of r < 4 px"),
        sa.Column("audit_core_8px_r", sa.Double(), nullable=True, comment="Mean of r < 8 px"),
        sa.Column("audit_core_12px_r", sa.Double(), nullable=True, comment="Mean of r < 12 px"),
        sa.Column("audit_annulus_mean_r", sa.Double(), nullable=True, comment="Mean of 4 <= r < 16 px"),
        sa.Column("audit_annulus_max_r", sa.Double(), nullable=True, comment="Maximum of 4 <= r < 16 px"),
        sa.Column("audit_annulus_std_r", sa.Double(), nullable=True, comment="Standard deviation of 4 <= r < 16 px"),
        sa.Column("audit_outer_r", sa.Double(), nullable=True, comment="Mean of 16 <= r < 28 px"),
        sa.Column(
            "audit_mad_r", sa.Double(), nullable=True, comment="Median absolute deviation of the image, without 1.4826"
        ),
        sa.Column(
            "audit_radial_gradient_r",
            sa.Double(),
            nullable=True,
            comment="Mean of r < 4 px minus mean of 16 <= r < 28 px",
        ),
        sa.Column(
            "audit_asymmetry_r",
            sa.Double(),
            nullable=True,
            comment="Azimuthal asymmetry: standard deviation of the means of 8 sectors of 4 <= r < 16 px",
        ),
        sa.Column("audit_border_r", sa.Double(), nullable=True, comment="Mean of the outermost 5 pixels on each side"),
        sa.ForeignKeyConstraint(
            ["cutout_id"],
            ["imaging.cutout.cutout_id"],
            name=op.f("fk_cutout_metric_cutout_id_cutout"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("cutout_id", name=op.f("pk_cutout_metric")),
        schema="imaging",
        comment="Pixel statistics of one cutout, r band, nanomaggies per pixel. v1_* reproduce the meta_* of the published cutouts; audit_* feed the shortcut audit. NULL where too few pixels have data.",
    )
    op.create_table(
        "gate",
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of the cutout set"),
        sa.Column("rule", sa.Text(), nullable=False, comment="Name of the rule"),
        sa.Column("value", sa.Double(), nullable=False, comment="What was measured"),
        sa.Column("limit_value", sa.Double(), nullable=False, comment="What the rule allows"),
        sa.Column("is_passed", sa.Boolean(), nullable=False, comment="The verdict"),
        sa.Column("detail", sa.Text(), nullable=False, comment="The rule in words"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that judged"),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_gate_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_gate_run_id_run")),
        sa.PrimaryKeyConstraint("draw_id", "version", "rule", name=op.f("pk_gate")),
        schema="imaging",
        comment="One rule of a draw's validation; the draw is GO when every rule passed.",
    )
    op.create_table(
        "shortcut_feature",
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of the cutout set"),
        sa.Column("feature", sa.Text(), nullable=False, comment="Name of the feature or classifier"),
        sa.Column("kind", sa.Text(), nullable=False, comment="image, metadata or border"),
        sa.Column(
            "is_expected_physics",
            sa.Boolean(),
            nullable=False,
            comment="True where lensing itself changes the feature (asymmetry, annulus): red is then no fault",
        ),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives used"),
        sa.Column("n_negatives", sa.Integer(), nullable=False, comment="Negatives used"),
        sa.Column("n_matched_positives", sa.Integer(), nullable=False, comment="Positives left after matching"),
        sa.Column("auc_raw", sa.Double(), nullable=False, comment="Folded AUC of all objects"),
        sa.Column(
            "auc_matched", sa.Double(), nullable=True, comment="Folded AUC after matching; NULL if too few remain"
        ),
        sa.Column("auc_lo", sa.Double(), nullable=True, comment="2.5 % of auc_matched, bootstrap by sky cell"),
        sa.Column("auc_hi", sa.Double(), nullable=True, comment="97.5 % of auc_matched, bootstrap by sky cell"),
        sa.Column("verdict", sa.Text(), nullable=False, comment="By auc_lo: < 0.60 green, <= 0.70 yellow, else red"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that judged"),
        sa.CheckConstraint("kind IN ('image', 'metadata', 'border')", name=op.f("ck_shortcut_feature_kind_known")),
        sa.CheckConstraint("verdict IN ('green', 'yellow', 'red')", name=op.f("ck_shortcut_feature_verdict_known")),
        sa.CheckConstraint(
            "auc_matched IS NULL OR (auc_matched >= 0 AND auc_matched <= 1)",
            name=op.f("ck_shortcut_feature_auc_matched_range"),
        ),
        sa.CheckConstraint("auc_raw >= 0 AND auc_raw <= 1", name=op.f("ck_shortcut_feature_auc_raw_range")),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_shortcut_feature_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_shortcut_feature_run_id_run")),
        sa.PrimaryKeyConstraint("draw_id", "version", "feature", name=op.f("pk_shortcut_feature")),
        schema="imaging",
        comment="Shortcut audit: how well one feature (or one classifier) alone separates the classes, raw and matched on r magnitude, type, PSF and depth. AUC folded as max(AUC, 1 - AUC).",
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA imaging CASCADE")
