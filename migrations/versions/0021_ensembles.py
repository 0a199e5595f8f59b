"""Ensembles, and how alike models err.

From: revision 0020
To: revision 0021
Why: an ensemble is a model whose scores are made of those of others, so which others, and what was fitted to which objects,
    has to stand beside it; whether combining helps depends on the members erring on different objects, which is counted
    at matched false-positive rates. One view lists the models, which until now only tables did.
Cost on 114 M galaxies: none, three empty tables and three views. On the way down ensembles go with their scores;
    `stronglens ensemble make` and `stronglens agreement` make them again from the scores of the members
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

MODELS = """-- Grain: one model, network or ensemble.
-- Inputs: training.model, epoch, ensemble, ensemble_member; sampling.draw, split_scheme; evaluation.test_access.
-- Units: best_val_auc in [0, 1], on the part of val that epochs are chosen by; member_coefficients: weights in an average,
--   coefficients of log-odds otherwise, in the order of members. n_combined_on: objects of the calibration part.
-- Excludes: nothing; failed and unfinished models have their status.
CREATE OR REPLACE VIEW results.models AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    ),
    member AS (
        SELECT
            e.model_id,
            array_agg(m.name ORDER BY e.position) AS names,
            array_agg(e.coefficient ORDER BY e.position) AS coefficients
        FROM training.ensemble_member AS e
        JOIN training.model AS m ON m.model_id = e.member_model_id
        GROUP BY e.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.kind,
    mo.survey,
    d.name AS draw_name,
    x.name AS scheme_name,
    mo.cutout_version,
    mo.architecture,
    mo.n_parameters,
    mo.status,
    mo.error,
    mo.is_label_shuffled,
    mo.best_epoch,
    best.val_auc AS best_val_auc,
    mo.n_train,
    mo.n_val,
    coalesce(member.names, '{}') AS members,
    coalesce(member.coefficients, '{}') AS member_coefficients,
    e.n_positives + e.n_negatives AS n_combined_on,
    mo.gate_accepted_reason,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses,
    mo.manifest_sha256,
    mo.created_at
FROM training.model AS mo
JOIN sampling.draw AS d ON d.draw_id = mo.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = mo.scheme_id
LEFT JOIN training.epoch AS best ON best.model_id = mo.model_id AND best.epoch = mo.best_epoch
LEFT JOIN training.ensemble AS e ON e.model_id = mo.model_id
LEFT JOIN member ON member.model_id = mo.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
"""

MODEL_AGREEMENT = """-- Grain: one object and one model, at one false-positive rate of the model's operating points (NULL: not evaluated).
-- Inputs: training.score, training.model; imaging.cutout, quarantine; sampling.draw_member, split_cell; evaluation.operating_point.
-- Units: score in [0, 1]. is_detected: at or above the model's own threshold, so that models are compared at matched rates.
--   rank_in_split: 1 is the highest score of the model in the split, ties by cutout.
-- Excludes: quarantined cutouts; cutouts scored outside the model's draw. Ask for one or two models: ranks are counted.
CREATE OR REPLACE VIEW results.model_agreement AS
WITH
    ranked AS (
        SELECT
            s.model_id, mo.name AS model_name, mo.survey, s.cutout_id, s.score, dm.label, dm.tier, dm.pool, dm.category,
            dm.lens_id, dm.ls_id, cell.split, cell.is_calibration,
            row_number() OVER (
                PARTITION BY s.model_id, mo.name, cell.split ORDER BY s.score DESC, s.cutout_id
            ) AS rank_in_split
        FROM training.score AS s
        JOIN training.model AS mo ON mo.model_id = s.model_id
        JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
        JOIN sampling.draw_member AS dm
            ON dm.draw_id = mo.draw_id
            AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
        JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    r.cutout_id,
    r.model_id,
    r.model_name,
    r.survey,
    r.label,
    r.tier,
    r.pool,
    r.category,
    r.lens_id,
    r.ls_id,
    r.split,
    r.is_calibration,
    r.score,
    r.rank_in_split,
    o.fpr_target,
    o.threshold,
    r.score >= o.threshold AS is_detected
FROM ranked AS r
LEFT JOIN evaluation.operating_point AS o ON o.model_id = r.model_id;
"""

MODEL_DIVERSITY = """-- Grain: one pair of models on one split at one false-positive rate, among positives or among negatives.
-- Inputs: evaluation.diversity, operating_point, interval (Wilson, 95 %), test_access; training.model.
-- Units: counts of objects that both, one or neither model is right about; shares of n. Of positives the share that a model
--   is right about is its recall. oracle_recall: positives that either model detects, the most that combining the two at
--   these thresholds could give. error_correlation is phi, q_statistic Yule's Q, disagreement the share that just one is
--   right about, double_fault the share that neither is: Kuncheva & Whitaker (2003), Mach. Learn. 51, 181.
-- Excludes: shares and correlations where n < 10 (the counts stand); positives found otherwise than by ground imaging;
--   comparisons at thresholds that have changed since.
CREATE OR REPLACE VIEW results.model_diversity AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    ),
    counted AS (
        SELECT
            d.model_a_id, d.model_b_id, d.split, d.fpr_target, d.sample, d.threshold_a, d.threshold_b,
            d.n_both_right, d.n_only_a_right, d.n_only_b_right, d.n_both_wrong,
            d.error_correlation, d.q_statistic, d.score_correlation,
            d.n_both_right + d.n_only_a_right AS n_a_right,
            d.n_both_right + d.n_only_b_right AS n_b_right,
            d.n_both_right + d.n_only_a_right + d.n_only_b_right AS n_either_right,
            d.n_both_right + d.n_only_a_right + d.n_only_b_right + d.n_both_wrong AS n,
            d.n_both_right + d.n_only_a_right + d.n_only_b_right + d.n_both_wrong >= 10 AS is_enough
        FROM evaluation.diversity AS d
    )
SELECT
    c.model_a_id,
    a.name AS model_a_name,
    c.model_b_id,
    b.name AS model_b_name,
    a.survey,
    c.split,
    c.fpr_target,
    c.threshold_a,
    c.threshold_b,
    oa.n_exceedances < 10 OR ob.n_exceedances < 10 AS is_threshold_uncertain,
    c.sample,
    c.n,
    c.n_both_right,
    c.n_only_a_right,
    c.n_only_b_right,
    c.n_both_wrong,
    CASE WHEN c.is_enough THEN c.n_a_right::double precision / c.n END AS share_a_right,
    CASE WHEN c.is_enough THEN ia.lo END AS share_a_right_lo,
    CASE WHEN c.is_enough THEN ia.hi END AS share_a_right_hi,
    CASE WHEN c.is_enough THEN c.n_b_right::double precision / c.n END AS share_b_right,
    CASE WHEN c.is_enough THEN ib.lo END AS share_b_right_lo,
    CASE WHEN c.is_enough THEN ib.hi END AS share_b_right_hi,
    CASE WHEN c.is_enough AND c.sample = 'positives' THEN c.n_either_right::double precision / c.n END AS oracle_recall,
    CASE WHEN c.is_enough AND c.sample = 'positives' THEN ie.lo END AS oracle_recall_lo,
    CASE WHEN c.is_enough AND c.sample = 'positives' THEN ie.hi END AS oracle_recall_hi,
    CASE WHEN c.is_enough THEN ia.method END AS interval_method,
    CASE WHEN c.is_enough THEN c.error_correlation END AS error_correlation,
    CASE WHEN c.is_enough THEN c.q_statistic END AS q_statistic,
    CASE WHEN c.is_enough THEN (c.n_only_a_right + c.n_only_b_right)::double precision / c.n END AS disagreement,
    CASE WHEN c.is_enough THEN c.n_both_wrong::double precision / c.n END AS double_fault,
    CASE WHEN c.is_enough THEN c.score_correlation END AS score_correlation,
    coalesce(ta.n_test_accesses, 0) AS n_test_accesses_a,
    coalesce(tb.n_test_accesses, 0) AS n_test_accesses_b
FROM counted AS c
JOIN training.model AS a ON a.model_id = c.model_a_id
JOIN training.model AS b ON b.model_id = c.model_b_id
JOIN evaluation.operating_point AS oa
    ON oa.model_id = c.model_a_id AND oa.fpr_target = c.fpr_target AND oa.threshold = c.threshold_a
JOIN evaluation.operating_point AS ob
    ON ob.model_id = c.model_b_id AND ob.fpr_target = c.fpr_target AND ob.threshold = c.threshold_b
LEFT JOIN evaluation.interval AS ia ON ia.k = c.n_a_right AND ia.n = c.n AND ia.method = 'wilson' AND ia.level = 0.95
LEFT JOIN evaluation.interval AS ib ON ib.k = c.n_b_right AND ib.n = c.n AND ib.method = 'wilson' AND ib.level = 0.95
LEFT JOIN evaluation.interval AS ie ON ie.k = c.n_either_right AND ie.n = c.n AND ie.method = 'wilson' AND ie.level = 0.95
LEFT JOIN accesses AS ta ON ta.model_id = c.model_a_id
LEFT JOIN accesses AS tb ON tb.model_id = c.model_b_id;
"""


def upgrade() -> None:
    op.create_table(
        "ensemble",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The ensemble"),
        sa.Column("method", sa.Text(), nullable=False, comment="average (mean score), stacking (logistic regression on log-odds), bayes (calibrated members taken as independent)"),
        sa.Column("body", postgresql.JSONB(), nullable=False, comment="What was fitted: intercepts, slopes, prior"),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives that it was fitted on; 0 where nothing is fitted"),
        sa.Column("n_negatives", sa.Integer(), nullable=False, comment="Negatives that it was fitted on; 0 where nothing is fitted"),
        sa.Column("fitted_sha256", sa.Text(), nullable=True, comment="SHA-256 of the cutout ids, splits and file hashes that it was fitted on, hexadecimal; NULL where nothing is fitted"),
        sa.CheckConstraint("method IN ('average', 'stacking', 'bayes')", name=op.f("ck_ensemble_method_known")),
        sa.CheckConstraint("n_positives >= 0 AND n_negatives >= 0", name=op.f("ck_ensemble_counts_positive")),
        sa.CheckConstraint("(method = 'average') = (fitted_sha256 IS NULL)", name=op.f("ck_ensemble_average_fits_nothing")),
        sa.CheckConstraint("fitted_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_ensemble_fitted_sha256_hex")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_ensemble_model_id_model"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_ensemble")),
        schema="training",
        comment="How one ensemble combines the scores of its members. What is fitted is fitted on the calibration part of val alone.",
    )
    op.create_table(
        "ensemble_member",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The ensemble"),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False, comment="Place of the member, from 1"),
        sa.Column("member_model_id", sa.Integer(), nullable=False, comment="The member"),
        sa.Column("coefficient", sa.Double(), nullable=False, comment="What it counts for: its weight in an average, the coefficient of its log-odds otherwise"),
        sa.CheckConstraint("position >= 1", name=op.f("ck_ensemble_member_position_from_one")),
        sa.CheckConstraint("member_model_id <> model_id", name=op.f("ck_ensemble_member_not_its_own_member")),
        sa.ForeignKeyConstraint(["model_id"], ["training.ensemble.model_id"], name=op.f("fk_ensemble_member_model_id_ensemble"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["member_model_id"], ["training.model.model_id"], name=op.f("fk_ensemble_member_member_model_id_model")),
        sa.PrimaryKeyConstraint("model_id", "position", name=op.f("pk_ensemble_member")),
        sa.UniqueConstraint("model_id", "member_model_id", name=op.f("uq_ensemble_member_model_id_member_model_id")),
        schema="training",
        comment="One member of one ensemble. A model cannot go while an ensemble is made of it.",
    )
    op.create_index(op.f("ix_ensemble_member_member_model_id"), "ensemble_member", ["member_model_id"], schema="training")
    op.create_table(
        "diversity",
        sa.Column("model_a_id", sa.Integer(), nullable=False, comment="The model with the lower key"),
        sa.Column("model_b_id", sa.Integer(), nullable=False, comment="The model with the higher key"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that was compared on"),
        sa.Column("fpr_target", sa.Double(), nullable=False, comment="False-positive rate of both thresholds on val"),
        sa.Column("sample", sa.Text(), nullable=False, comment="positives (ground-imaging discoveries) or negatives, with scores of both models"),
        sa.Column("threshold_a", sa.Double(), nullable=False, comment="Threshold of model a when it was compared"),
        sa.Column("threshold_b", sa.Double(), nullable=False, comment="Threshold of model b when it was compared"),
        sa.Column("n_both_right", sa.Integer(), nullable=False, comment="Objects that both are right about"),
        sa.Column("n_only_a_right", sa.Integer(), nullable=False, comment="Objects that only model a is right about"),
        sa.Column("n_only_b_right", sa.Integer(), nullable=False, comment="Objects that only model b is right about"),
        sa.Column("n_both_wrong", sa.Integer(), nullable=False, comment="Objects that neither is right about"),
        sa.Column("error_correlation", sa.Double(), nullable=True, comment="Correlation of being right (phi), [-1, 1]; NULL where a model is right, or wrong, about all"),
        sa.Column("q_statistic", sa.Double(), nullable=True, comment="Yule's Q of being right, [-1, 1]; NULL where its denominator is 0"),
        sa.Column("score_correlation", sa.Double(), nullable=True, comment="Spearman's rank correlation of the scores; NULL where a model scores all alike"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that compared"),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_diversity_split_known")),
        sa.CheckConstraint("sample IN ('positives', 'negatives')", name=op.f("ck_diversity_sample_known")),
        sa.CheckConstraint("model_a_id < model_b_id", name=op.f("ck_diversity_pair_once")),
        sa.CheckConstraint("fpr_target > 0 AND fpr_target < 1", name=op.f("ck_diversity_fpr_target_range")),
        sa.CheckConstraint(
            "n_both_right >= 0 AND n_only_a_right >= 0 AND n_only_b_right >= 0 AND n_both_wrong >= 0",
            name=op.f("ck_diversity_counts_positive"),
        ),
        sa.CheckConstraint("q_statistic >= -1 AND q_statistic <= 1", name=op.f("ck_diversity_q_statistic_range")),
        sa.CheckConstraint("error_correlation >= -1 AND error_correlation <= 1", name=op.f("ck_diversity_error_correlation_range")),
        sa.CheckConstraint("score_correlation >= -1 AND score_correlation <= 1", name=op.f("ck_diversity_score_correlation_range")),
        sa.ForeignKeyConstraint(["model_a_id"], ["training.model.model_id"], name=op.f("fk_diversity_model_a_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_b_id"], ["training.model.model_id"], name=op.f("fk_diversity_model_b_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_diversity_run_id_run")),
        sa.PrimaryKeyConstraint("model_a_id", "model_b_id", "split", "fpr_target", "sample", name=op.f("pk_diversity")),
        schema="evaluation",
        comment="How two models err on the same objects, each at its own threshold for one false-positive rate. A positive at or above the threshold is right, a negative below it.",
    )
    op.create_index(op.f("ix_diversity_model_b_id"), "diversity", ["model_b_id"], schema="evaluation")
    for sql in (MODELS, MODEL_AGREEMENT, MODEL_DIVERSITY):
        _view(sql)


def downgrade() -> None:
    for name in ("model_diversity", "model_agreement", "models"):
        op.execute(f"DROP VIEW results.{name}")
    op.drop_table("diversity", schema="evaluation")
    op.drop_table("ensemble_member", schema="training")
    op.drop_table("ensemble", schema="training")
    op.execute("DELETE FROM training.model WHERE kind = 'ensemble'")


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    quoted = " ".join(lines).replace("'", "''")
    op.execute(f"COMMENT ON VIEW results.{sql.split('VIEW results.')[1].split()[0]} IS '{quoted}'")
