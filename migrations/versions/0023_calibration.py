"""Calibrations, their reliability, and false-positive rates and purity of the survey.

From: revision 0022
To: revision 0023
Why: a score is no probability, and the rates of a draw with one lens in a hundred are not those of a sky with one in ten
    thousand. These tables hold what scores are calibrated by, how reliable that is, and rates reweighted to the survey; views
    publish them, and results.purity_at says what an operating point yields at any prior.
Cost on 114 M galaxies: none, three empty tables; `stronglens evaluate` fills them. The way down forgets the rows, which
    another evaluation makes again
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

CALIBRATIONS = """-- Grain: one calibration of one model.
-- Inputs: evaluation.calibration; training.model.
-- Units: temperature, intercept, slope of log-odds, dimensionless, NULL where the method has none; prevalence is the share of
--   positives that the probabilities hold for, that of the draw (about 1/100), not of the sky (about 1e-4).
-- Excludes: the corners of isotonic calibrations and the replicates, which are in evaluation.calibration.
CREATE OR REPLACE VIEW results.calibrations AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    c.method,
    (c.body ->> 'temperature')::double precision AS temperature,
    (c.body ->> 'intercept')::double precision AS intercept,
    (c.body ->> 'slope')::double precision AS slope,
    jsonb_array_length(c.body -> 'score') AS n_corners,
    c.n_positives,
    c.n_negatives,
    c.prevalence
FROM evaluation.calibration AS c
JOIN training.model AS mo ON mo.model_id = c.model_id;
"""

RELIABILITY = """-- Grain: one bin of predicted probability of one model: raw or calibrated, in one binning, on one split.
-- Inputs: evaluation.reliability_bin, interval (Wilson, 95 %), test_access; training.model.
-- Units: probabilities in [0, 1] at the draw's prevalence (about 1/100), not the sky's; rate is k / n, the share of positives.
--   binning: equal_mass (ECE is over these), equal_width, top_1_percent (within the highest hundredth).
-- Excludes: objects that calibrations were fitted on (val is its other part); positives that were not found in ground imaging;
--   a rate and its interval where n < 10 (k and n stand).
CREATE OR REPLACE VIEW results.reliability AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    b.split,
    b.method,
    b.binning,
    b.bin,
    b.n,
    b.k,
    b.mean_p,
    b.p_lo,
    b.p_hi,
    CASE WHEN b.n >= 10 THEN b.k::double precision / b.n END AS rate,
    CASE WHEN b.n >= 10 THEN i.lo END AS rate_lo,
    CASE WHEN b.n >= 10 THEN i.hi END AS rate_hi,
    CASE WHEN b.n >= 10 THEN i.method END AS interval_method,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.reliability_bin AS b
JOIN training.model AS mo ON mo.model_id = b.model_id
LEFT JOIN evaluation.interval AS i ON i.k = b.k AND i.n = b.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
"""

SURVEY_RATES = """-- Grain: one operating point of one model and one sample of lenses (tier_a, tier_ab), on one split.
-- Inputs: evaluation.survey_rate, operating_point, tally, interval (Wilson, 95 %), test_access; training.model.
-- Units: rates in [0, 1] with 95 % intervals. fpr is of the survey: each negative counts 1 / its inclusion probability; the
--   population is the galaxies that the draw could have taken (its cuts, strata and footprint). recall is of
--   ground-imaging discoveries.
-- Excludes: recall where n < 10 (k and n stand); models whose draw knows no inclusion probabilities (imported draws).
--   is_uncertain: fewer than 10 negatives at or above the threshold, here or where it was chosen, or fewer than 10 lenses.
CREATE OR REPLACE VIEW results.survey_rates AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    r.split,
    t.sample,
    t.k AS n_recovered,
    t.n AS n_lenses,
    CASE WHEN t.n >= 10 THEN t.k::double precision / t.n END AS recall,
    CASE WHEN t.n >= 10 THEN i.lo END AS recall_lo,
    CASE WHEN t.n >= 10 THEN i.hi END AS recall_hi,
    r.value AS fpr,
    r.lo AS fpr_lo,
    r.hi AS fpr_hi,
    r.method AS fpr_interval_method,
    r.n AS n_negatives,
    r.n_exceedances,
    r.n_effective AS n_negatives_effective,
    (r.n_exceedances < 10 OR o.n_exceedances < 10 OR t.n < 10) AS is_uncertain,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.survey_rate AS r
JOIN evaluation.operating_point AS o ON o.operating_point_id = r.operating_point_id
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN evaluation.tally AS t
    ON t.operating_point_id = o.operating_point_id AND t.split = r.split AND t.sample IN ('tier_a', 'tier_ab')
    AND t.nobs_z_bin IS NULL AND t.type IS NULL AND t.category IS NULL
LEFT JOIN evaluation.interval AS i ON i.k = t.k AND i.n = t.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id
WHERE r.what = 'fpr';
"""

PURITY_AT = """-- What each operating point yields in a survey of which a share `prior` are lenses like those of the sample: purity is
-- r prior / (r prior + f (1 - prior)), with recall r and survey FPR f of results.survey_rates.
-- Units: per_million: of a million galaxies that the finder looks at; cost in the units of cost_per_candidate (one object looked
-- at). lo and hi put the ends of the two 95 % intervals together, the worst with the worst: at least 95 %.
-- No rows where prior is not between 0 and 1; NULL where nothing would be a candidate, or recall is not known.
CREATE OR REPLACE FUNCTION results.purity_at(
    prior double precision,
    cost_per_candidate double precision DEFAULT 1
) RETURNS TABLE (
    model_id integer,
    model_name text,
    survey text,
    fpr_target double precision,
    threshold double precision,
    split text,
    sample text,
    lens_prior double precision,
    recall double precision,
    recall_lo double precision,
    recall_hi double precision,
    fpr double precision,
    fpr_lo double precision,
    fpr_hi double precision,
    purity double precision,
    purity_lo double precision,
    purity_hi double precision,
    candidates_per_million double precision,
    candidates_per_million_lo double precision,
    candidates_per_million_hi double precision,
    lenses_per_million double precision,
    candidates_per_lens double precision,
    candidates_per_lens_lo double precision,
    candidates_per_lens_hi double precision,
    cost_per_lens double precision,
    n_lenses integer,
    n_negatives integer,
    n_negatives_effective double precision,
    n_exceedances integer,
    is_uncertain boolean,
    n_test_accesses bigint
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
AS $$
WITH
    found AS (
        SELECT
            s.model_id, s.model_name, s.survey, s.fpr_target, s.threshold, s.split, s.sample, s.recall, s.recall_lo, s.recall_hi,
            s.fpr, s.fpr_lo, s.fpr_hi, s.n_lenses, s.n_negatives, s.n_negatives_effective, s.n_exceedances, s.is_uncertain,
            s.n_test_accesses,
            s.recall * prior AS true_share, s.recall_lo * prior AS true_lo, s.recall_hi * prior AS true_hi,
            s.fpr * (1 - prior) AS false_share, s.fpr_lo * (1 - prior) AS false_lo, s.fpr_hi * (1 - prior) AS false_hi
        FROM results.survey_rates AS s
        WHERE prior > 0 AND prior < 1
    )
SELECT
    f.model_id,
    f.model_name,
    f.survey,
    f.fpr_target,
    f.threshold,
    f.split,
    f.sample,
    prior,
    f.recall,
    f.recall_lo,
    f.recall_hi,
    f.fpr,
    f.fpr_lo,
    f.fpr_hi,
    f.true_share / nullif(f.true_share + f.false_share, 0),
    f.true_lo / nullif(f.true_lo + f.false_hi, 0),
    f.true_hi / nullif(f.true_hi + f.false_lo, 0),
    1e6 * (f.true_share + f.false_share),
    1e6 * (f.true_lo + f.false_lo),
    1e6 * (f.true_hi + f.false_hi),
    1e6 * f.true_share,
    (f.true_share + f.false_share) / nullif(f.true_share, 0),
    (f.true_hi + f.false_lo) / nullif(f.true_hi, 0),
    (f.true_lo + f.false_hi) / nullif(f.true_lo, 0),
    cost_per_candidate * (f.true_share + f.false_share) / nullif(f.true_share, 0),
    f.n_lenses,
    f.n_negatives,
    f.n_negatives_effective,
    f.n_exceedances,
    f.is_uncertain,
    f.n_test_accesses
FROM found AS f;
$$;
"""

PURITY = """-- Grain: one operating point of one model and one sample of lenses (tier_a, tier_ab), on one split, at one prior.
-- Inputs: results.purity_at, thus results.survey_rates; for other priors and a cost ask `results.purity_at(prior, cost)`.
-- Units: lens_prior is the share of galaxies that are lenses: about 1e-4 in the sky, where the draw has 1 in 100; purity in [0, 1];
--   per_million: of a million galaxies looked at; cost_per_lens at a cost of 1 for each candidate. lo, hi: both 95 %
--   intervals' ends, worst with worst.
-- Excludes: what results.survey_rates excludes. is_uncertain as there; n_negatives is what the FPR rests on.
CREATE OR REPLACE VIEW results.purity AS
SELECT
    p.model_id,
    p.model_name,
    p.survey,
    p.fpr_target,
    p.threshold,
    p.split,
    p.sample,
    p.lens_prior,
    p.recall,
    p.recall_lo,
    p.recall_hi,
    p.fpr,
    p.fpr_lo,
    p.fpr_hi,
    p.purity,
    p.purity_lo,
    p.purity_hi,
    p.candidates_per_million,
    p.candidates_per_million_lo,
    p.candidates_per_million_hi,
    p.lenses_per_million,
    p.candidates_per_lens,
    p.candidates_per_lens_lo,
    p.candidates_per_lens_hi,
    p.cost_per_lens,
    p.n_lenses,
    p.n_negatives,
    p.n_negatives_effective,
    p.n_exceedances,
    p.is_uncertain,
    p.n_test_accesses
FROM (VALUES (1e-5::double precision), (3e-5), (1e-4), (3e-4), (1e-3)) AS priors (prior)
CROSS JOIN LATERAL results.purity_at(priors.prior) AS p;
"""


def upgrade() -> None:
    op.create_table(
        "calibration",
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False, comment="The model"),
        sa.Column("method", sa.Text(), nullable=False, comment="temperature: sigmoid(logit / T); platt: sigmoid(a + b logit); isotonic: a rising function"),
        sa.Column("body", postgresql.JSONB(), nullable=False, comment="What was fitted: temperature; or intercept, slope and those of bootstrap replicates by sky cell; or the corners (score, probability), straight between them"),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives fitted on: ground-imaging discoveries"),
        sa.Column("n_negatives", sa.Integer(), nullable=False, comment="Negatives fitted on, as drawn (N1 and N2)"),
        sa.Column("prevalence", sa.Double(), nullable=False, comment="Share of positives among them, about 1/100: that of the draw, not of the sky (about 1e-4)"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that fitted it"),
        sa.CheckConstraint("body ->> 'method' = method", name=op.f("ck_calibration_body_of_the_method")),
        sa.CheckConstraint("n_positives > 0 AND n_negatives > 0", name=op.f("ck_calibration_both_classes")),
        sa.CheckConstraint("method IN ('temperature', 'platt', 'isotonic')", name=op.f("ck_calibration_method_known")),
        sa.CheckConstraint("prevalence > 0 AND prevalence < 1", name=op.f("ck_calibration_prevalence_range")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_calibration_model_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_calibration_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", "method", name=op.f("pk_calibration")),
        schema="evaluation",
        comment="A map from a model's scores to probabilities, fitted without weights on the calibration part of val; its probabilities hold at the prevalence of that part.",
    )
    op.create_table(
        "reliability_bin",
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False, comment="The model"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that was counted; val stands for its part that is not for calibration"),
        sa.Column("method", sa.Text(), nullable=False, comment="raw (the score itself), or the calibration's method"),
        sa.Column("binning", sa.Text(), nullable=False, comment="equal_mass; equal_width; top_1_percent (equal mass within the highest hundredth); equal predictions are never parted"),
        sa.Column("bin", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the bin, from 0, rising"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Objects in the bin"),
        sa.Column("k", sa.Integer(), nullable=False, comment="Positives among them"),
        sa.Column("mean_p", sa.Double(), nullable=False, comment="Mean predicted probability"),
        sa.Column("p_lo", sa.Double(), nullable=False, comment="Lowest prediction in the bin; of equal_width its lower edge"),
        sa.Column("p_hi", sa.Double(), nullable=False, comment="Highest prediction in the bin; of equal_width its upper edge"),
        sa.CheckConstraint("bin >= 0", name=op.f("ck_reliability_bin_bin_not_negative")),
        sa.CheckConstraint("binning IN ('equal_mass', 'equal_width', 'top_1_percent')", name=op.f("ck_reliability_bin_binning_known")),
        sa.CheckConstraint("p_lo >= 0 AND p_lo <= p_hi AND p_hi <= 1", name=op.f("ck_reliability_bin_ends_ordered")),
        sa.CheckConstraint("k >= 0 AND k <= n AND n > 0", name=op.f("ck_reliability_bin_k_within_n")),
        sa.CheckConstraint("mean_p >= 0 AND mean_p <= 1", name=op.f("ck_reliability_bin_mean_p_range")),
        sa.CheckConstraint("method IN ('raw', 'temperature', 'platt', 'isotonic')", name=op.f("ck_reliability_bin_method_known")),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_reliability_bin_split_known")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_reliability_bin_model_id_model"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "split", "method", "binning", "bin", name=op.f("pk_reliability_bin")),
        schema="evaluation",
        comment="One bin of a model's predicted probability and the positives in it, on objects that no calibration was fitted on.",
    )
    op.create_table(
        "survey_rate",
        sa.Column("operating_point_id", sa.Integer(), autoincrement=False, nullable=False, comment="The operating point"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that was counted"),
        sa.Column("what", sa.Text(), nullable=False, comment="fpr: share of negatives at or above the threshold"),
        sa.Column("value", sa.Double(), nullable=False, comment="The rate: sum of weights at or above the threshold / sum of weights"),
        sa.Column("lo", sa.Double(), nullable=False, comment="Lower end of its 95 % interval"),
        sa.Column("hi", sa.Double(), nullable=False, comment="Upper end of its 95 % interval"),
        sa.Column("method", sa.Text(), nullable=False, comment="How the interval was made: bootstrap by sky cell; with fewer than 10 exceedances wilson at the effective number"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Negatives with an inclusion probability: N1 and N2, without mined ones (no sample of the survey)"),
        sa.Column("n_exceedances", sa.Integer(), nullable=False, comment="How many of them are at or above the threshold, unweighted"),
        sa.Column("n_effective", sa.Double(), nullable=False, comment="(sum of weights)^2 / sum of squared weights: as many equal weights are worth as much"),
        sa.CheckConstraint("n_effective > 0 AND n_effective <= n", name=op.f("ck_survey_rate_effective_within_n")),
        sa.CheckConstraint("lo >= 0 AND lo <= value AND value <= hi AND hi <= 1", name=op.f("ck_survey_rate_ends_ordered")),
        sa.CheckConstraint("n_exceedances >= 0 AND n_exceedances <= n AND n > 0", name=op.f("ck_survey_rate_exceedances_within_n")),
        sa.CheckConstraint("method IN ('bootstrap by sky cell', 'wilson at the effective number')", name=op.f("ck_survey_rate_method_known")),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_survey_rate_split_known")),
        sa.CheckConstraint("what IN ('fpr')", name=op.f("ck_survey_rate_what_known")),
        sa.ForeignKeyConstraint(["operating_point_id"], ["evaluation.operating_point.operating_point_id"], name=op.f("fk_survey_rate_operating_point_id_operating_point"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("operating_point_id", "split", "what", name=op.f("pk_survey_rate")),
        schema="evaluation",
        comment="A rate at an operating point among all galaxies that the draw could have taken: each negative counts 1 / its inclusion probability.",
    )
    for sql in (CALIBRATIONS, RELIABILITY, SURVEY_RATES):
        _view(sql)
    op.execute(PURITY_AT)
    _view(PURITY)


def downgrade() -> None:
    op.execute("DROP VIEW results.purity")
    op.execute("DROP FUNCTION results.purity_at(double precision, double precision)")
    for name in ("survey_rates", "reliability", "calibrations"):
        op.execute(f"DROP VIEW results.{name}")
    for name in ("survey_rate", "reliability_bin", "calibration"):
        op.drop_table(name, schema="evaluation")


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    comment = " ".join(lines).replace("'", "''")
    op.execute("COMMENT ON VIEW results." + sql.split("VIEW results.")[1].split()[0] + f" IS '{comment}'")
