"""Evaluation: operating points, tallies, intervals, metrics and readings of the test split.

From: revision 0005
To: revision 0006
Why: views publish what Python computed once.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA evaluation")
    op.create_table(
        "interval",
        sa.Column("k", sa.Integer(), autoincrement=False, nullable=False, comment="Successes"),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False, comment="Trials"),
        sa.Column("method", sa.Text(), nullable=False, comment="wilson or jeffreys"),
        sa.Column("level", sa.Double(), autoincrement=False, nullable=False, comment="Confidence level: 0.95"),
        sa.Column("lo", sa.Double(), nullable=False, comment="Lower end"),
        sa.Column("hi", sa.Double(), nullable=False, comment="Upper end"),
        sa.CheckConstraint("method IN ('wilson', 'jeffreys')", name=op.f("ck_interval_method_known")),
        sa.CheckConstraint("k >= 0 AND k <= n AND n > 0", name=op.f("ck_interval_k_within_n")),
        sa.CheckConstraint("level > 0 AND level < 1", name=op.f("ck_interval_level_range")),
        sa.CheckConstraint("lo >= 0 AND lo <= hi AND hi <= 1", name=op.f("ck_interval_ends_ordered")),
        sa.PrimaryKeyConstraint("k", "n", "method", "level", name=op.f("pk_interval")),
        schema="evaluation",
        comment="A binomial confidence interval, a pure function of its key; views join it by (k, n, method, level).",
    )
    op.create_table(
        "metric",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that it was measured on"),
        sa.Column("name", sa.Text(), nullable=False, comment="auc; auc_tier_a (tier A against all negatives); ..."),
        sa.Column("value", sa.Double(), nullable=False, comment="The number"),
        sa.Column(
            "lo", sa.Double(), nullable=True, comment="Lower end of the 95 % interval; NULL where none was computed"
        ),
        sa.Column(
            "hi", sa.Double(), nullable=True, comment="Upper end of the 95 % interval; NULL where none was computed"
        ),
        sa.Column("method", sa.Text(), nullable=True, comment="How the interval was made: bootstrap by sky cell, ..."),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives used"),
        sa.Column("n_negatives", sa.Integer(), nullable=False, comment="Negatives used"),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_metric_split_known")),
        sa.CheckConstraint(
            "(lo IS NULL) = (hi IS NULL) AND (lo IS NULL) = (method IS NULL)",
            name=op.f("ck_metric_interval_with_method"),
        ),
        sa.CheckConstraint("lo IS NULL OR (lo <= value AND value <= hi)", name=op.f("ck_metric_value_within_interval")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["training.model.model_id"], name=op.f("fk_metric_model_id_model"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "split", "name", name=op.f("pk_metric")),
        schema="evaluation",
        comment="A number about a model on one split: AUC, AUC with shuffled labels, ...",
    )
    op.create_table(
        "operating_point",
        sa.Column(
            "operating_point_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the point"
        ),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("fpr_target", sa.Double(), nullable=False, comment="False-positive rate aimed at: 1e-2, 1e-3, 1e-4"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that the threshold was chosen on: val"),
        sa.Column("threshold", sa.Double(), nullable=False, comment="A score at or above it is a detection"),
        sa.Column("n_negatives", sa.Integer(), nullable=False, comment="Negatives used to choose it"),
        sa.Column(
            "n_exceedances",
            sa.Integer(),
            nullable=False,
            comment="Negatives at or above it; fewer than 10 makes the threshold itself uncertain",
        ),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_operating_point_split_known")),
        sa.CheckConstraint("fpr_target > 0 AND fpr_target < 1", name=op.f("ck_operating_point_fpr_target_range")),
        sa.CheckConstraint(
            "n_exceedances >= 0 AND n_exceedances <= n_negatives",
            name=op.f("ck_operating_point_exceedances_within_negatives"),
        ),
        sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name=op.f("ck_operating_point_threshold_range")),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["training.model.model_id"],
            name=op.f("fk_operating_point_model_id_model"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("operating_point_id", name=op.f("pk_operating_point")),
        sa.UniqueConstraint("model_id", "fpr_target", name=op.f("uq_operating_point_model_id_fpr_target")),
        schema="evaluation",
        comment="A threshold of a model for a target false-positive rate, chosen on the negatives of the validation split.",
    )
    op.create_table(
        "test_access",
        sa.Column("access_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the reading"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model evaluated"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that read it"),
        sa.Column("purpose", sa.Text(), nullable=False, comment="Why it was read"),
        sa.Column(
            "accessed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was read",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["training.model.model_id"], name=op.f("fk_test_access_model_id_model"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_test_access_run_id_run")),
        sa.PrimaryKeyConstraint("access_id", name=op.f("pk_test_access")),
        schema="evaluation",
        comment="Every reading of the test split; the count stands beside every test result.",
    )
    op.create_index(op.f("ix_test_access_model_id"), "test_access", ["model_id"], unique=False, schema="evaluation")
    op.create_table(
        "tally",
        sa.Column("tally_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the count"),
        sa.Column("operating_point_id", sa.Integer(), nullable=False, comment="The operating point"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that was counted"),
        sa.Column(
            "sample",
            sa.Text(),
            nullable=False,
            comment="tier_a, tier_b, tier_ab (ground-imaging discoveries: headline recall); not_ground_imaging (positives found otherwise); N1, N2, negatives",
        ),
        sa.Column(
            "nobs_z_bin",
            sa.Text(),
            nullable=True,
            comment="Stratum's bin of z exposures; `none`: positives without a stratum; NULL: pooled",
        ),
        sa.Column(
            "type",
            sa.Text(),
            nullable=True,
            comment="Stratum's Tractor type; `none`: positives without a stratum; NULL: pooled",
        ),
        sa.Column("category", sa.Text(), nullable=True, comment="Kind of confuser (N2 only); NULL: pooled"),
        sa.Column("k", sa.Integer(), nullable=False, comment="Objects at or above the threshold"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Objects counted"),
        sa.CheckConstraint(
            "category IN ('ring', 'edge_on', 'large', 'blue_clumpy')", name=op.f("ck_tally_category_known")
        ),
        sa.CheckConstraint(
            "nobs_z_bin IN ('1-2', '3-5', '6-10', '11+', 'none')", name=op.f("ck_tally_nobs_z_bin_known")
        ),
        sa.CheckConstraint(
            "sample IN ('tier_a', 'tier_b', 'tier_ab', 'N1', 'N2', 'negatives', 'not_ground_imaging')",
            name=op.f("ck_tally_sample_known"),
        ),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_tally_split_known")),
        sa.CheckConstraint("type IN ('SER', 'DEV', 'REX', 'none')", name=op.f("ck_tally_type_known")),
        sa.CheckConstraint("k >= 0 AND k <= n", name=op.f("ck_tally_k_within_n")),
        sa.ForeignKeyConstraint(
            ["operating_point_id"],
            ["evaluation.operating_point.operating_point_id"],
            name=op.f("fk_tally_operating_point_id_operating_point"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tally_id", name=op.f("pk_tally")),
        sa.UniqueConstraint(
            "operating_point_id",
            "split",
            "sample",
            "nobs_z_bin",
            "type",
            "category",
            name="uq_tally_grain",
            postgresql_nulls_not_distinct=True,
        ),
        schema="evaluation",
        comment="k of n objects of a sample at or above an operating point's threshold. A NULL axis is pooled over.",
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA evaluation CASCADE")
