"""Recall by condition, and what else an evaluation counts.

From: revision 0021
To: revision 0022
Why: recall falls where seeing is poor and depth is shallow, and a single number hides it: counts by observing
    condition, with a bootstrap by sky cell and corrected comparisons. Held-out discoveries are a sample of their own.
    The test split is read less often than val, so each split's numbers say which run they are of
    (evaluation.evaluated_split). The galleries of errors show test objects only after the test split was opened.
Cost on 114 M galaxies: none. Models evaluated before keep their numbers; their conditions come with the next
    evaluation. The way down forgets conditions and held-out counts
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

RECALL_BY_STRATUM = """-- Grain: one sample of positives in one stratum or pooled margin, at one operating point of one model, on one split.
-- Inputs: evaluation.tally, operating_point, interval (Wilson, 95 %), test_access; training.model.
-- Units: recall is k / n. nobs_z_bin and type are NULL where pooled over, `none` for positives without a stratum.
--   tier_ab_graded: tier A, and tier B with a letter grade. held_out: discoveries kept from training, in cells of the split; held_out_all: wherever they lie, with test.
-- Excludes: a rate and its interval where n < 10 (k and n stand; read the pooled margins).
CREATE OR REPLACE VIEW results.recall_by_stratum AS
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
    o.n_exceedances,
    t.split,
    t.sample,
    t.nobs_z_bin,
    t.type,
    (t.nobs_z_bin IS NULL OR t.type IS NULL) AS is_pooled,
    t.k,
    t.n,
    CASE WHEN t.n >= 10 THEN t.k::double precision / t.n END AS recall,
    CASE WHEN t.n >= 10 THEN i.lo END AS recall_lo,
    CASE WHEN t.n >= 10 THEN i.hi END AS recall_hi,
    CASE WHEN t.n >= 10 THEN i.method END AS interval_method,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.tally AS t
JOIN evaluation.operating_point AS o ON o.operating_point_id = t.operating_point_id
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN evaluation.interval AS i ON i.k = t.k AND i.n = t.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id
WHERE t.sample IN ('tier_a', 'tier_b', 'tier_ab', 'tier_ab_graded', 'not_ground_imaging', 'held_out', 'held_out_all');
"""

RECALL_BY_CONDITION = """-- Grain: one sample in one bin of one observing condition, at one operating point of one model, on one split.
-- Inputs: evaluation.condition_tally, operating_point, interval (Wilson, 95 %), test_access; training.model.
-- Units: rate is k / n: recall of positives and held-out discoveries, false-positive rate of negatives, N1 and N2.
--   bin_lo <= value < bin_hi in the unit that the axis names (dec: degrees; nobs_z: exposures; mag_r_ab: not
--   dereddened), NULL on an open side and of words. boot_*: 95 % bootstrap by sky cell, NULL where k is 0 or n. p_value:
--   Fisher's exact test of the bin against the rest of its axis; p_holm: after Holm's correction over all bins compared
--   of this operating point, split and sample.
-- Excludes: a rate, its intervals and p-values where n < 10 (k and n stand); bins without objects.
CREATE OR REPLACE VIEW results.recall_by_condition AS
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
    o.n_exceedances,
    t.split,
    t.sample,
    t.axis,
    t.bin,
    t.bin_lo,
    t.bin_hi,
    t.k,
    t.n,
    t.n_cells,
    CASE WHEN t.n >= 10 THEN t.k::double precision / t.n END AS rate,
    CASE WHEN t.n >= 10 THEN i.lo END AS rate_lo,
    CASE WHEN t.n >= 10 THEN i.hi END AS rate_hi,
    CASE WHEN t.n >= 10 THEN i.method END AS interval_method,
    t.boot_lo,
    t.boot_hi,
    CASE WHEN t.boot_lo IS NOT NULL THEN 'bootstrap by sky cell' END AS boot_method,
    t.p_value,
    t.p_holm,
    CASE WHEN t.p_value IS NOT NULL THEN 'fisher exact' END AS p_method,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.condition_tally AS t
JOIN evaluation.operating_point AS o ON o.operating_point_id = t.operating_point_id
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN evaluation.interval AS i ON i.k = t.k AND i.n = t.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
"""

THRESHOLD_TABLE = """-- Grain: one operating point of one model, with what it does on one split.
-- Inputs: results.recall_by_stratum, recall_by_condition, fpr_by_contaminant; evaluation.operating_point;
--   training.model.
-- Units: rates k / n with Wilson 95 % intervals; threshold is a score. *_boot_*: 95 % bootstrap by
--   sky cell. n_negatives_needed: negatives that let 10 exceed the threshold at the target rate.
-- Excludes: nothing. is_threshold_uncertain: fewer than 10 validation negatives at or above the threshold.
CREATE OR REPLACE VIEW results.threshold_table AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    o.split AS chosen_on,
    o.n_negatives AS n_negatives_chosen_on,
    o.n_exceedances,
    o.n_exceedances < 10 AS is_threshold_uncertain,
    f.split,
    f.k AS n_false_positives,
    f.n AS n_negatives,
    f.fpr,
    f.fpr_lo,
    f.fpr_hi,
    a.k AS n_recovered_tier_a,
    a.n AS n_tier_a,
    a.recall AS recall_tier_a,
    a.recall_lo AS recall_tier_a_lo,
    a.recall_hi AS recall_tier_a_hi,
    b.k AS n_recovered_tier_b,
    b.n AS n_tier_b,
    b.recall AS recall_tier_b,
    b.recall_lo AS recall_tier_b_lo,
    b.recall_hi AS recall_tier_b_hi,
    f.interval_method,
    f.n_test_accesses,
    ceil(10 / o.fpr_target)::bigint AS n_negatives_needed,
    f_boot.boot_lo AS fpr_boot_lo,
    f_boot.boot_hi AS fpr_boot_hi,
    a_boot.boot_lo AS recall_tier_a_boot_lo,
    a_boot.boot_hi AS recall_tier_a_boot_hi
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN results.fpr_by_contaminant AS f
    ON f.model_id = o.model_id AND f.fpr_target = o.fpr_target AND f.pool = 'negatives' AND f.category IS NULL
LEFT JOIN results.recall_by_stratum AS a
    ON a.model_id = o.model_id AND a.fpr_target = o.fpr_target AND a.split = f.split
    AND a.sample = 'tier_a' AND a.nobs_z_bin IS NULL AND a.type IS NULL
LEFT JOIN results.recall_by_stratum AS b
    ON b.model_id = o.model_id AND b.fpr_target = o.fpr_target AND b.split = f.split
    AND b.sample = 'tier_b' AND b.nobs_z_bin IS NULL AND b.type IS NULL
LEFT JOIN results.recall_by_condition AS f_boot
    ON f_boot.model_id = o.model_id AND f_boot.fpr_target = o.fpr_target AND f_boot.split = f.split
    AND f_boot.sample = 'negatives' AND f_boot.axis = 'all'
LEFT JOIN results.recall_by_condition AS a_boot
    ON a_boot.model_id = o.model_id AND a_boot.fpr_target = o.fpr_target AND a_boot.split = f.split
    AND a_boot.sample = 'tier_a' AND a_boot.axis = 'all';
"""

MODEL_METRICS = """-- Grain: one metric of one model on one split.
-- Inputs: evaluation.metric, evaluation.test_access; training.model.
-- Units: all in [0, 1]; the 95 % interval and its method where one was computed. auc; partial_auc: over FPR <= 1e-2,
--   McClish-standardised (0.5 for chance, 1 at best); partial_auc_raw: that area itself, at most 0.01; tpr0: recall
--   above the highest negative of the split. Positives are those of both tiers; with _tier_a, _tier_a_grade_a,
--   _tier_ab_graded (tier A, and tier B with a letter grade), ...: those against all negatives.
-- Excludes: a value and its interval where either class has fewer than 10 (n_positives and n_negatives stand); models trained
--   on shuffled labels are marked is_label_shuffled.
CREATE OR REPLACE VIEW results.model_metrics AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    mo.architecture,
    mo.is_label_shuffled,
    e.split,
    e.name AS metric,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.value END AS value,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.lo END AS lo,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.hi END AS hi,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.method END AS interval_method,
    e.n_positives,
    e.n_negatives,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.metric AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
"""

FALSE_POSITIVES = """-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point, evaluated_split; training.score (through its index), training.model; imaging.cutout, quarantine;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: quarantined cutouts; negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates);
--   objects of the test split until the model was evaluated on it.
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    e.fpr_target,
    e.threshold,
    row_number() OVER (PARTITION BY e.operating_point_id, cell.split ORDER BY e.score DESC, e.cutout_id) AS rank_in_split,
    e.score,
    e.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.ls_id,
    cell.split,
    dm.pool,
    dm.category,
    st.nobs_z_bin,
    g.type,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    dm.inclusion_probability
FROM exceedance AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
JOIN imaging.cutout AS c ON c.cutout_id = e.cutout_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id)
    AND (
        cell.split <> 'test'
        OR EXISTS (SELECT 1 FROM evaluation.evaluated_split AS v WHERE v.model_id = mo.model_id AND v.split = 'test')
    );
"""

FALSE_NEGATIVES = """-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point, evaluated_split; sampling.draw_member, stratum, split_cell; imaging.cutout, quarantine; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: quarantined cutouts; positives without a cutout (rejected pixels), which have no score; objects of the test split
--   until the model was evaluated on it.
CREATE OR REPLACE VIEW results.false_negatives AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    row_number() OVER (PARTITION BY o.operating_point_id, cell.split ORDER BY s.score, s.cutout_id) AS rank_in_split,
    s.score,
    s.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.lens_id,
    l.name AS lens_name,
    dm.tier,
    l.discovery,
    cell.split,
    st.nobs_z_bin,
    st.type
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.label = 1
JOIN imaging.cutout AS c ON c.lens_id = dm.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id AND s.score < o.threshold
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    AND (
        cell.split <> 'test'
        OR EXISTS (SELECT 1 FROM evaluation.evaluated_split AS v WHERE v.model_id = mo.model_id AND v.split = 'test')
    );
"""

OLD_RECALL_BY_STRATUM = """-- Grain: one sample of positives in one stratum or pooled margin, at one operating point of one model, on one split.
-- Inputs: evaluation.tally, operating_point, interval (Wilson, 95 %), test_access; training.model.
-- Units: recall is k / n. nobs_z_bin and type are NULL where pooled over, `none` for positives without a stratum.
-- Excludes: a rate and its interval where n < 10 (k and n stand; read the pooled margins).
CREATE OR REPLACE VIEW results.recall_by_stratum AS
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
    o.n_exceedances,
    t.split,
    t.sample,
    t.nobs_z_bin,
    t.type,
    (t.nobs_z_bin IS NULL OR t.type IS NULL) AS is_pooled,
    t.k,
    t.n,
    CASE WHEN t.n >= 10 THEN t.k::double precision / t.n END AS recall,
    CASE WHEN t.n >= 10 THEN i.lo END AS recall_lo,
    CASE WHEN t.n >= 10 THEN i.hi END AS recall_hi,
    CASE WHEN t.n >= 10 THEN i.method END AS interval_method,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.tally AS t
JOIN evaluation.operating_point AS o ON o.operating_point_id = t.operating_point_id
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN evaluation.interval AS i ON i.k = t.k AND i.n = t.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id
WHERE t.sample IN ('tier_a', 'tier_b', 'tier_ab', 'not_ground_imaging');
"""

OLD_THRESHOLD_TABLE = """-- Grain: one operating point of one model, with what it does on one split.
-- Inputs: results.recall_by_stratum, results.fpr_by_contaminant; evaluation.operating_point; training.model.
-- Units: rates k / n with Wilson 95 % intervals; threshold is a score.
-- Excludes: nothing. is_threshold_uncertain: fewer than 10 validation negatives at or above the threshold.
CREATE OR REPLACE VIEW results.threshold_table AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    o.split AS chosen_on,
    o.n_negatives AS n_negatives_chosen_on,
    o.n_exceedances,
    o.n_exceedances < 10 AS is_threshold_uncertain,
    f.split,
    f.k AS n_false_positives,
    f.n AS n_negatives,
    f.fpr,
    f.fpr_lo,
    f.fpr_hi,
    a.k AS n_recovered_tier_a,
    a.n AS n_tier_a,
    a.recall AS recall_tier_a,
    a.recall_lo AS recall_tier_a_lo,
    a.recall_hi AS recall_tier_a_hi,
    b.k AS n_recovered_tier_b,
    b.n AS n_tier_b,
    b.recall AS recall_tier_b,
    b.recall_lo AS recall_tier_b_lo,
    b.recall_hi AS recall_tier_b_hi,
    f.interval_method,
    f.n_test_accesses
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN results.fpr_by_contaminant AS f
    ON f.model_id = o.model_id AND f.fpr_target = o.fpr_target AND f.pool = 'negatives' AND f.category IS NULL
LEFT JOIN results.recall_by_stratum AS a
    ON a.model_id = o.model_id AND a.fpr_target = o.fpr_target AND a.split = f.split
    AND a.sample = 'tier_a' AND a.nobs_z_bin IS NULL AND a.type IS NULL
LEFT JOIN results.recall_by_stratum AS b
    ON b.model_id = o.model_id AND b.fpr_target = o.fpr_target AND b.split = f.split
    AND b.sample = 'tier_b' AND b.nobs_z_bin IS NULL AND b.type IS NULL;
"""

OLD_MODEL_METRICS = """-- Grain: one metric of one model on one split.
-- Inputs: evaluation.metric, evaluation.test_access; training.model.
-- Units: AUC in [0, 1]; the interval and its method where one was computed.
-- Excludes: nothing; models trained on shuffled labels are marked is_label_shuffled.
CREATE OR REPLACE VIEW results.model_metrics AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    mo.architecture,
    mo.is_label_shuffled,
    e.split,
    e.name AS metric,
    e.value,
    e.lo,
    e.hi,
    e.method AS interval_method,
    e.n_positives,
    e.n_negatives,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.metric AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
"""

OLD_FALSE_POSITIVES = """-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point; training.score (through its index), training.model; imaging.cutout, quarantine;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: quarantined cutouts; negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates).
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    e.fpr_target,
    e.threshold,
    row_number() OVER (PARTITION BY e.operating_point_id, cell.split ORDER BY e.score DESC, e.cutout_id) AS rank_in_split,
    e.score,
    e.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.ls_id,
    cell.split,
    dm.pool,
    dm.category,
    st.nobs_z_bin,
    g.type,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    dm.inclusion_probability
FROM exceedance AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
JOIN imaging.cutout AS c ON c.cutout_id = e.cutout_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id);
"""

OLD_FALSE_NEGATIVES = """-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point; sampling.draw_member, stratum, split_cell; imaging.cutout, quarantine; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: quarantined cutouts; positives without a cutout (rejected pixels); they have no score.
CREATE OR REPLACE VIEW results.false_negatives AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    row_number() OVER (PARTITION BY o.operating_point_id, cell.split ORDER BY s.score, s.cutout_id) AS rank_in_split,
    s.score,
    s.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.lens_id,
    l.name AS lens_name,
    dm.tier,
    l.discovery,
    cell.split,
    st.nobs_z_bin,
    st.type
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.label = 1
JOIN imaging.cutout AS c ON c.lens_id = dm.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id AND s.score < o.threshold
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id);
"""

OLD_SAMPLES = ("tier_a", "tier_b", "tier_ab", "N1", "N2", "negatives", "not_ground_imaging")
SAMPLES = ("tier_a", "tier_b", "tier_ab", "tier_ab_graded", "not_ground_imaging", "held_out", "held_out_all", "negatives", "N1", "N2")

OLD_SAMPLE = "tier_a, tier_b, tier_ab (ground-imaging discoveries: headline recall); not_ground_imaging (positives found otherwise); N1, N2, negatives"
SAMPLE = "tier_a, tier_b, tier_ab (ground-imaging discoveries: headline recall); tier_ab_graded (tier A, and tier B with a letter grade); not_ground_imaging (positives found otherwise); held_out (discoveries kept from training, in cells of the split), held_out_all (the same wherever they lie, counted with test); N1, N2, negatives"

OLD_METRIC = "auc; auc_tier_a (tier A against all negatives); ..."
METRIC = "auc, partial_auc (FPR <= 1e-2, McClish-standardised), partial_auc_raw (the area itself, at most 0.01), tpr0 (recall above the highest negative); with _tier_a, _tier_a_grade_a, _tier_ab_graded, ... of those positives against all negatives; ..."


def upgrade() -> None:
    _samples(SAMPLES)
    _comment("COLUMN evaluation.tally.sample", SAMPLE)
    _comment("COLUMN evaluation.metric.name", METRIC)
    op.create_table(
        "condition_tally",
        sa.Column("operating_point_id", sa.Integer(), nullable=False, comment="The operating point"),
        sa.Column("split", sa.Text(), nullable=False, comment="Split that was counted"),
        sa.Column("sample", sa.Text(), nullable=False, comment="Objects counted, as in evaluation.tally"),
        sa.Column("axis", sa.Text(), nullable=False, comment="all (pooled); nobs_z (exposures), psf_fwhm_z_arcsec, galdepth_z_ab (5 sigma), ebv_mag, dec (degrees), mag_r_ab (not dereddened), type (Tractor), grade (best letter that any paper gave), domain (halves of the condition that a model was trained on half of)"),
        sa.Column("bin", sa.Text(), nullable=False, comment="Name of the bin; unknown: the condition is not known, as without a Tractor match"),
        sa.Column("bin_lo", sa.Double(), nullable=True, comment="Lower edge, inside, in the axis' unit; NULL: open, unknown or a word"),
        sa.Column("bin_hi", sa.Double(), nullable=True, comment="Upper edge, outside, in the axis' unit; NULL: open, unknown or a word"),
        sa.Column("k", sa.Integer(), nullable=False, comment="Objects at or above the threshold"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Objects counted"),
        sa.Column("n_cells", sa.Integer(), nullable=False, comment="HEALPix cells (nside 128) that they lie in"),
        sa.Column("boot_lo", sa.Double(), nullable=True, comment="Lower end of the rate's 95 % percentile interval, cells resampled; NULL where n < 10 or k is 0 or n, which resampling cannot move"),
        sa.Column("boot_hi", sa.Double(), nullable=True, comment="Upper end of that interval; NULL where the lower one is"),
        sa.Column("p_value", sa.Double(), nullable=True, comment="Two-sided p-value of Fisher's exact test of this bin's rate against the rest of its axis; NULL where either has n < 10"),
        sa.Column("p_holm", sa.Double(), nullable=True, comment="The same after Holm's correction over all bins compared of this operating point, split and sample"),
        _one_of("condition_tally", "split", ("train", "val", "test")),
        _one_of("condition_tally", "sample", SAMPLES),
        _one_of("condition_tally", "axis", ("all", "nobs_z", "psf_fwhm_z_arcsec", "galdepth_z_ab", "ebv_mag", "dec", "mag_r_ab", "type", "grade", "domain")),
        sa.CheckConstraint("k >= 0 AND k <= n", name=op.f("ck_condition_tally_k_within_n")),
        sa.CheckConstraint("n_cells >= 0 AND n_cells <= n", name=op.f("ck_condition_tally_cells_within_n")),
        sa.CheckConstraint("bin_lo < bin_hi", name=op.f("ck_condition_tally_bin_ordered")),
        sa.CheckConstraint("(boot_lo IS NULL) = (boot_hi IS NULL)", name=op.f("ck_condition_tally_both_ends")),
        sa.CheckConstraint("boot_lo >= 0 AND boot_lo <= boot_hi AND boot_hi <= 1", name=op.f("ck_condition_tally_ends_ordered")),
        sa.CheckConstraint("(p_value IS NULL) = (p_holm IS NULL) AND p_value <= p_holm", name=op.f("ck_condition_tally_correction_only_raises")),
        sa.CheckConstraint("p_value IS NULL OR (p_value >= 0 AND p_value <= 1)", name=op.f("ck_condition_tally_p_value_range")),
        sa.CheckConstraint("p_holm IS NULL OR (p_holm >= 0 AND p_holm <= 1)", name=op.f("ck_condition_tally_p_holm_range")),
        sa.ForeignKeyConstraint(["operating_point_id"], ["evaluation.operating_point.operating_point_id"], name=op.f("fk_condition_tally_operating_point_id_operating_point"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("operating_point_id", "split", "sample", "axis", "bin", name=op.f("pk_condition_tally")),
        schema="evaluation",
        comment="k of n objects of a sample at or above an operating point's threshold, in one bin of one observing condition or kind of object; bins without objects have no row.",
    )
    op.create_table(
        "evaluated_split",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("split", sa.Text(), nullable=False, comment="The split"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that evaluated it"),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When it was evaluated"),
        _one_of("evaluated_split", "split", ("train", "val", "test")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_evaluated_split_model_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_evaluated_split_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", "split", name=op.f("pk_evaluated_split")),
        schema="evaluation",
        comment="Which run the published numbers of a model on a split are of; what was read of the test split and when is in evaluation.test_access.",
    )
    # Until now every evaluation read both splits, and its last reading made the numbers that are there.
    op.execute(
        "INSERT INTO evaluation.evaluated_split (model_id, split, run_id, evaluated_at) "
        "SELECT DISTINCT ON (a.model_id, s.split) a.model_id, s.split, a.run_id, a.accessed_at "
        "FROM evaluation.test_access AS a CROSS JOIN (VALUES ('val'), ('test')) AS s (split) "
        "ORDER BY a.model_id, s.split, a.access_id DESC"
    )
    for sql in (RECALL_BY_STRATUM, RECALL_BY_CONDITION, THRESHOLD_TABLE, MODEL_METRICS, FALSE_POSITIVES, FALSE_NEGATIVES):
        _view(sql)


def downgrade() -> None:
    for sql in (OLD_FALSE_POSITIVES, OLD_FALSE_NEGATIVES):
        _view(sql)
    for name in ("threshold_table", "recall_by_condition"):
        op.execute(f"DROP VIEW results.{name}")
    op.drop_table("evaluated_split", schema="evaluation")
    op.drop_table("condition_tally", schema="evaluation")
    op.execute("DELETE FROM evaluation.tally WHERE sample IN ('tier_ab_graded', 'held_out', 'held_out_all')")
    _samples(OLD_SAMPLES)
    _comment("COLUMN evaluation.tally.sample", OLD_SAMPLE)
    _comment("COLUMN evaluation.metric.name", OLD_METRIC)
    for sql in (OLD_RECALL_BY_STRATUM, OLD_THRESHOLD_TABLE, OLD_MODEL_METRICS):
        _view(sql)


def _samples(words: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_tally_sample_known"), "tally", schema="evaluation")
    listed = ", ".join(f"'{word}'" for word in words)
    op.create_check_constraint(op.f("ck_tally_sample_known"), "tally", f"sample IN ({listed})", schema="evaluation")


def _one_of(table: str, column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}_known"))


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    _comment("VIEW results." + sql.split("VIEW results.")[1].split()[0], " ".join(lines))


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
