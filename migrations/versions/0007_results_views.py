"""Results: the public views.

From: revision 0006
To: revision 0007
Why: the contract that users read.
Cost on 114 M galaxies: none: views hold no rows
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA results")
    op.execute(
        """-- Grain: one cutout of one draw under one split scheme (and cutout version).
-- Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop;
--   imaging.cutout.
-- Units: ra, dec in degrees; weight is dimensionless, for the training loss.
-- Excludes: rejected cutouts; negatives that the scheme's guard dropped; draws not yet guarded; members without a cutout.
CREATE OR REPLACE VIEW results.manifest AS
WITH
    member AS (
        SELECT
            m.member_id, m.draw_id, m.label, m.weight, m.pool, m.category, m.tier, m.stratum_id,
            m.inclusion_probability, m.lens_id, m.ls_id, m.healpix_128
        FROM sampling.draw_member AS m
    ),
    positive_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        JOIN imaging.cutout AS c ON c.lens_id = m.lens_id AND c.survey = d.survey
        WHERE m.label = 1 AND c.status <> 'rejected'
    ),
    negative_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN imaging.cutout AS c ON c.ls_id = m.ls_id
        WHERE m.label = 0 AND c.status <> 'rejected'
    ),
    member_cutout AS (
        SELECT p.member_id, p.cutout_id FROM positive_cutout AS p
        UNION ALL
        SELECT n.member_id, n.cutout_id FROM negative_cutout AS n
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    x.scheme_id,
    x.name AS scheme_name,
    d.survey,
    c.cutout_id,
    c.version,
    c.layer,
    m.member_id,
    c.uri,
    c.sha256,
    m.label,
    m.weight,
    cell.split,
    m.pool,
    m.category,
    m.tier,
    m.stratum_id,
    s.nobs_z_bin,
    s.type,
    m.inclusion_probability,
    m.lens_id,
    m.ls_id,
    c.ra,
    c.dec,
    m.healpix_128
FROM member_cutout AS mc
JOIN member AS m ON m.member_id = mc.member_id
JOIN imaging.cutout AS c ON c.cutout_id = mc.cutout_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
JOIN sampling.split_assignment AS assigned ON assigned.draw_id = m.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = m.healpix_128
LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id
WHERE NOT EXISTS (
    SELECT 1 FROM sampling.guard_drop AS g WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id
);
"""
    )
    op.execute(
        """COMMENT ON VIEW results.manifest IS 'Grain: one cutout of one draw under one split scheme (and cutout version). Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop; imaging.cutout. Units: ra, dec in degrees; weight is dimensionless, for the training loss. Excludes: rejected cutouts; negatives that the scheme''s guard dropped; draws not yet guarded; members without a cutout.'
"""
    )
    op.execute(
        """-- Grain: one training positive (catalog.lens with a tier), per survey with a loaded pool and per split scheme.
-- Inputs: catalog.lens, lens_grade, lens_redshift, lens_match, galaxy (by key), sweep_file; sampling.split_scheme, split_cell.
-- Units: ra, dec in degrees; match_separation_arcsec in arcsec. weight: tier A 1.0, B 0.5 (the rule; a draw stores its own).
-- Excludes: lenses and cluster detections without a training tier. survey and scheme are NULL before a pool or scheme exists.
CREATE OR REPLACE VIEW results.positives AS
WITH
    surveys AS (
        SELECT DISTINCT f.survey, f.data_release FROM catalog.sweep_file AS f WHERE f.status = 'loaded'
    ),
    grades AS (
        SELECT
            g.lens_id,
            jsonb_agg(
                jsonb_build_object('paper', g.paper, 'grade', g.grade, 'score', g.score) ORDER BY g.paper, g.grade
            ) AS grades,
            min(g.grade) FILTER (WHERE g.grade IN ('A', 'B', 'C')) AS best_letter_grade
        FROM catalog.lens_grade AS g
        GROUP BY g.lens_id
    ),
    redshift AS (
        SELECT DISTINCT ON (z.lens_id) z.lens_id, z.z, z.method, z.reference
        FROM catalog.lens_redshift AS z
        ORDER BY z.lens_id, array_position(ARRAY['spec', 'phot', 'unknown'], z.method), z.redshift_id
    )
SELECT
    l.lens_id,
    l.name,
    l.ra,
    l.dec,
    l.tier,
    CASE l.tier WHEN 'A' THEN 1.0 ELSE 0.5 END::double precision AS weight,
    grades.grades,
    grades.best_letter_grade,
    redshift.z AS redshift,
    redshift.method AS redshift_method,
    redshift.reference AS redshift_reference,
    l.discovery,
    surveys.survey,
    surveys.data_release,
    m.ls_id,
    m.separation_arcsec AS match_separation_arcsec,
    galaxy.type AS match_type,
    CASE WHEN galaxy.type IN ('SER', 'DEV', 'REX') THEN sampling.nobs_z_bin(galaxy.nobs_z) END AS nobs_z_bin,
    CASE WHEN galaxy.type IN ('SER', 'DEV', 'REX') THEN galaxy.type END AS stratum_type,
    x.scheme_id,
    x.name AS scheme_name,
    cell.split
FROM catalog.lens AS l
LEFT JOIN surveys ON TRUE
LEFT JOIN grades ON grades.lens_id = l.lens_id
LEFT JOIN redshift ON redshift.lens_id = l.lens_id
LEFT JOIN catalog.lens_match AS m
    ON m.lens_id = l.lens_id AND m.survey = surveys.survey AND m.data_release = surveys.data_release
LEFT JOIN catalog.galaxy AS galaxy ON galaxy.ls_id = m.ls_id
LEFT JOIN sampling.split_scheme AS x ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = l.healpix_128
WHERE l.tier IS NOT NULL;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.positives IS 'Grain: one training positive (catalog.lens with a tier), per survey with a loaded pool and per split scheme. Inputs: catalog.lens, lens_grade, lens_redshift, lens_match, galaxy (by key), sweep_file; sampling.split_scheme, split_cell. Units: ra, dec in degrees; match_separation_arcsec in arcsec. weight: tier A 1.0, B 0.5 (the rule; a draw stores its own). Excludes: lenses and cluster detections without a training tier. survey and scheme are NULL before a pool or scheme exists.'
"""
    )
    op.execute(
        """-- Grain: one stratum of one draw.
-- Inputs: sampling.draw, sampling.stratum.
-- Units: counts. shortfall = target - drawn, never topped up from elsewhere.
-- Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).
CREATE OR REPLACE VIEW results.strata AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    s.n_positives,
    s.n_eligible_n1,
    s.n_eligible_n2,
    s.n_target_n1,
    s.n_target_n2,
    s.n_drawn_n1,
    s.n_drawn_n2,
    s.n_target_n1 - s.n_drawn_n1 AS shortfall_n1,
    s.n_target_n2 - s.n_drawn_n2 AS shortfall_n2
FROM sampling.stratum AS s
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.strata IS 'Grain: one stratum of one draw. Inputs: sampling.draw, sampling.stratum. Units: counts. shortfall = target - drawn, never topped up from elsewhere. Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).'
"""
    )
    op.execute(
        """-- Grain: one score of one model for one cutout of the model's draw.
-- Inputs: training.score, training.model; imaging.cutout; sampling.draw_member, stratum, split_cell; catalog.lens, galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec.
-- Excludes: cutouts scored outside the model's draw.
CREATE OR REPLACE VIEW results.scores AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    sc.cutout_id,
    sc.score,
    dm.label,
    dm.pool,
    dm.category,
    dm.tier,
    cell.split,
    st.nobs_z_bin,
    st.type AS stratum_type,
    dm.inclusion_probability,
    dm.lens_id,
    l.name AS lens_name,
    l.discovery,
    dm.ls_id,
    c.ra,
    c.dec,
    dm.healpix_128,
    c.uri,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    g.nobs_z,
    g.psf_fwhm_r_arcsec,
    g.psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag
FROM training.score AS sc
JOIN training.model AS mo ON mo.model_id = sc.model_id
JOIN imaging.cutout AS c ON c.cutout_id = sc.cutout_id
JOIN sampling.draw_member AS dm
    ON dm.draw_id = mo.draw_id
    AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
LEFT JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = dm.ls_id;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.scores IS 'Grain: one score of one model for one cutout of the model''s draw. Inputs: training.score, training.model; imaging.cutout; sampling.draw_member, stratum, split_cell; catalog.lens, galaxy (by key). Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec. Excludes: cutouts scored outside the model''s draw.'
"""
    )
    op.execute(
        """-- Grain: one sample of positives in one stratum or pooled margin, at one operating point of one model, on one split.
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
    )
    op.execute(
        """COMMENT ON VIEW results.recall_by_stratum IS 'Grain: one sample of positives in one stratum or pooled margin, at one operating point of one model, on one split. Inputs: evaluation.tally, operating_point, interval (Wilson, 95 %), test_access; training.model. Units: recall is k / n. nobs_z_bin and type are NULL where pooled over, `none` for positives without a stratum. Excludes: a rate and its interval where n < 10 (k and n stand; read the pooled margins).'
"""
    )
    op.execute(
        """-- Grain: one pool of negatives, or one kind of confuser, at one operating point of one model, on one split.
-- Inputs: evaluation.tally, operating_point, interval (Wilson, 95 %), test_access; training.model.
-- Units: fpr is k / n of the sample as drawn; N2 is enriched in confusers and is not the survey's own mix.
-- Excludes: a rate and its interval where n < 10 (k and n stand).
CREATE OR REPLACE VIEW results.fpr_by_contaminant AS
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
    t.sample AS pool,
    t.category,
    t.k,
    t.n,
    CASE WHEN t.n >= 10 THEN t.k::double precision / t.n END AS fpr,
    CASE WHEN t.n >= 10 THEN i.lo END AS fpr_lo,
    CASE WHEN t.n >= 10 THEN i.hi END AS fpr_hi,
    CASE WHEN t.n >= 10 THEN i.method END AS interval_method,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.tally AS t
JOIN evaluation.operating_point AS o ON o.operating_point_id = t.operating_point_id
JOIN training.model AS mo ON mo.model_id = o.model_id
LEFT JOIN evaluation.interval AS i ON i.k = t.k AND i.n = t.n AND i.method = 'wilson' AND i.level = 0.95
LEFT JOIN accesses ON accesses.model_id = mo.model_id
WHERE t.sample IN ('N1', 'N2', 'negatives');
"""
    )
    op.execute(
        """COMMENT ON VIEW results.fpr_by_contaminant IS 'Grain: one pool of negatives, or one kind of confuser, at one operating point of one model, on one split. Inputs: evaluation.tally, operating_point, interval (Wilson, 95 %), test_access; training.model. Units: fpr is k / n of the sample as drawn; N2 is enriched in confusers and is not the survey''s own mix. Excludes: a rate and its interval where n < 10 (k and n stand).'
"""
    )
    op.execute(
        """-- Grain: one operating point of one model, with what it does on one split.
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
    )
    op.execute(
        """COMMENT ON VIEW results.threshold_table IS 'Grain: one operating point of one model, with what it does on one split. Inputs: results.recall_by_stratum, results.fpr_by_contaminant; evaluation.operating_point; training.model. Units: rates k / n with Wilson 95 % intervals; threshold is a score. Excludes: nothing. is_threshold_uncertain: fewer than 10 validation negatives at or above the threshold.'
"""
    )
    op.execute(
        """-- Grain: one metric of one model on one split.
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
    )
    op.execute(
        """COMMENT ON VIEW results.model_metrics IS 'Grain: one metric of one model on one split. Inputs: evaluation.metric, evaluation.test_access; training.model. Units: AUC in [0, 1]; the interval and its method where one was computed. Excludes: nothing; models trained on shuffled labels are marked is_label_shuffled.'
"""
    )
    op.execute(
        """-- Grain: one scored cutout of one model, ranked within the model by score (ties by cutout).
-- Inputs: training.score (through its index), training.model; imaging.cutout; sampling.draw_member, split_cell;
--   catalog.lens_neighbour, lens.
-- Units: ra, dec in degrees; separations in arcsec. known_lens_*: the nearest known lens or cluster core within 11 arcsec of
--   a negative, or the positive itself; NULL: no known lens there, as far as `stronglens match` has been run.
-- Excludes: nothing. Ask for one model and `rank <= K`: the ranking then stops after K rows.
CREATE OR REPLACE VIEW results.top_candidates AS
WITH
    ranked AS (
        SELECT
            s.model_id, s.cutout_id, s.score,
            row_number() OVER (PARTITION BY s.model_id ORDER BY s.score DESC, s.cutout_id) AS rank
        FROM training.score AS s
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    r.rank,
    r.score,
    r.cutout_id,
    c.ra,
    c.dec,
    c.uri,
    c.lens_id,
    c.ls_id,
    cell.split,
    CASE WHEN c.lens_id IS NOT NULL THEN l.tier END AS tier,
    dm.pool,
    dm.category,
    coalesce(l.name, known.name) AS known_lens_name,
    CASE WHEN c.lens_id IS NOT NULL THEN 0 ELSE known.separation_arcsec END AS known_lens_separation_arcsec
FROM ranked AS r
JOIN training.model AS mo ON mo.model_id = r.model_id
JOIN imaging.cutout AS c ON c.cutout_id = r.cutout_id
LEFT JOIN catalog.lens AS l ON l.lens_id = c.lens_id
LEFT JOIN LATERAL (
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.lens_id = c.lens_id AND m.label = 1
    UNION ALL
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.ls_id = c.ls_id AND m.label = 0
) AS dm ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.top_candidates IS 'Grain: one scored cutout of one model, ranked within the model by score (ties by cutout). Inputs: training.score (through its index), training.model; imaging.cutout; sampling.draw_member, split_cell; catalog.lens_neighbour, lens. Units: ra, dec in degrees; separations in arcsec. known_lens_*: the nearest known lens or cluster core within 11 arcsec of a negative, or the positive itself; NULL: no known lens there, as far as `stronglens match` has been run. Excludes: nothing. Ask for one model and `rank <= K`: the ranking then stops after K rows.'
"""
    )
    op.execute(
        """-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point; training.score (through its index), training.model; imaging.cutout;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates).
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
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
    )
    op.execute(
        """COMMENT ON VIEW results.false_positives IS 'Grain: one negative at or above the threshold of one operating point of one model, ranked by score. Inputs: evaluation.operating_point; training.score (through its index), training.model; imaging.cutout; sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key). Units: ra, dec in degrees; mag_r_ab AB, not dereddened. Excludes: negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates).'
"""
    )
    op.execute(
        """-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point; sampling.draw_member, stratum, split_cell; imaging.cutout; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: positives without a cutout (rejected pixels); they have no score.
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
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.false_negatives IS 'Grain: one positive below the threshold of one operating point of one model, the lowest score first. Inputs: evaluation.operating_point; sampling.draw_member, stratum, split_cell; imaging.cutout; training.score, model; catalog.lens. Units: ra, dec in degrees. Excludes: positives without a cutout (rejected pixels); they have no score.'
"""
    )
    op.execute(
        """-- Grain: one feature, or one classifier, of the audit of one draw's cutouts.
-- Inputs: imaging.shortcut_feature; sampling.draw.
-- Units: AUC folded as max(AUC, 1 - AUC); interval by bootstrap over sky cells, 95 %.
-- Excludes: nothing. is_fault: red where lensing itself is no excuse.
CREATE OR REPLACE VIEW results.shortcut_audit AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    f.version,
    f.feature,
    f.kind,
    f.is_expected_physics,
    f.n_positives,
    f.n_negatives,
    f.n_matched_positives,
    f.auc_raw,
    f.auc_matched,
    f.auc_lo,
    f.auc_hi,
    'bootstrap by sky cell'::text AS interval_method,
    f.verdict,
    (f.verdict = 'red' AND NOT f.is_expected_physics) AS is_fault
FROM imaging.shortcut_feature AS f
JOIN sampling.draw AS d ON d.draw_id = f.draw_id;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.shortcut_audit IS 'Grain: one feature, or one classifier, of the audit of one draw''s cutouts. Inputs: imaging.shortcut_feature; sampling.draw. Units: AUC folded as max(AUC, 1 - AUC); interval by bootstrap over sky cells, 95 %. Excludes: nothing. is_fault: red where lensing itself is no excuse.'
"""
    )
    op.execute(
        """-- Grain: one violation of the split rules; empty when all is well.
-- Inputs: sampling.split_scheme, split_cell, split_assignment, close_pair, draw_member, guard_drop; results.manifest (file hashes).
-- Units: separation_arcsec in arcsec.
-- Excludes: pairs of which a guarded negative has left the manifest; draws that no scheme was assigned to.
CREATE OR REPLACE VIEW results.split_leakage AS
WITH
    cell_in_two_splits AS (
        SELECT c.scheme_id, c.healpix_128
        FROM sampling.split_cell AS c
        GROUP BY c.scheme_id, c.healpix_128
        HAVING count(*) > 1
    ),
    cell_against_rule AS (
        SELECT x.scheme_id, c.healpix_128, c.split
        FROM sampling.split_scheme AS x
        JOIN sampling.split_cell AS c ON c.scheme_id = x.scheme_id
        WHERE c.split <> sampling.split_of_cell(c.healpix_128, x.seed, x.train_below, x.val_below)
    ),
    member_without_cell AS (
        SELECT x.scheme_id, m.member_id, m.healpix_128
        FROM sampling.split_assignment AS x
        JOIN sampling.draw_member AS m ON m.draw_id = x.draw_id
        WHERE NOT EXISTS (
            SELECT 1 FROM sampling.split_cell AS c WHERE c.scheme_id = x.scheme_id AND c.healpix_128 = m.healpix_128
        )
    ),
    pair_across_splits AS (
        SELECT x.scheme_id, p.member_id, p.other_member_id, p.separation_arcsec
        FROM sampling.close_pair AS p
        JOIN sampling.draw_member AS a ON a.member_id = p.member_id
        JOIN sampling.draw_member AS b ON b.member_id = p.other_member_id
        JOIN sampling.split_assignment AS assigned ON assigned.draw_id = p.draw_id
        JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
        JOIN sampling.split_cell AS ca ON ca.scheme_id = x.scheme_id AND ca.healpix_128 = a.healpix_128
        JOIN sampling.split_cell AS cb ON cb.scheme_id = x.scheme_id AND cb.healpix_128 = b.healpix_128
        WHERE ca.split <> cb.split
            AND p.separation_arcsec <= x.guard_arcsec
            AND NOT EXISTS (
                SELECT 1 FROM sampling.guard_drop AS g
                WHERE g.scheme_id = x.scheme_id AND g.member_id IN (p.member_id, p.other_member_id)
            )
    ),
    pixels_in_two_splits AS (
        SELECT m.scheme_id, m.draw_id, m.sha256, min(m.member_id) AS member_id, max(m.member_id) AS other_member_id
        FROM results.manifest AS m
        GROUP BY m.scheme_id, m.draw_id, m.sha256
        HAVING count(DISTINCT m.split) > 1
    )
SELECT
    'cell in two splits'::text AS violation, v.scheme_id, v.healpix_128,
    NULL::bigint AS member_id, NULL::bigint AS other_member_id, NULL::double precision AS separation_arcsec
FROM cell_in_two_splits AS v
UNION ALL
SELECT 'cell against the rule', v.scheme_id, v.healpix_128, NULL, NULL, NULL FROM cell_against_rule AS v
UNION ALL
SELECT 'member without a cell', v.scheme_id, v.healpix_128, v.member_id, NULL, NULL FROM member_without_cell AS v
UNION ALL
SELECT 'pair across splits', v.scheme_id, NULL, v.member_id, v.other_member_id, v.separation_arcsec
FROM pair_across_splits AS v
UNION ALL
SELECT 'same pixels in two splits', v.scheme_id, NULL, v.member_id, v.other_member_id, NULL FROM pixels_in_two_splits AS v;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.split_leakage IS 'Grain: one violation of the split rules; empty when all is well. Inputs: sampling.split_scheme, split_cell, split_assignment, close_pair, draw_member, guard_drop; results.manifest (file hashes). Units: separation_arcsec in arcsec. Excludes: pairs of which a guarded negative has left the manifest; draws that no scheme was assigned to.'
"""
    )
    op.execute(
        """-- Grain: one count of one stage, in the order of the pipeline, per survey where the rows have one.
-- Inputs: the tables of every stage; galaxies are counted by their load ledger, never by scanning the pool.
-- Units: rows; drawn and left out: objects, counted once however many draws or schemes they are in.
-- Excludes: nothing.
CREATE OR REPLACE VIEW results.stage_counts AS
SELECT 1 AS position, 'catalog rows'::text AS stage, NULL::text AS survey, count(*) AS n FROM catalog.lens_source
UNION ALL
SELECT 2, 'known lenses and cluster cores', NULL, count(*) FROM catalog.lens
UNION ALL
SELECT 3, 'positives, tier ' || l.tier, NULL, count(*) FROM catalog.lens AS l WHERE l.tier IS NOT NULL GROUP BY l.tier
UNION ALL
SELECT 4, 'sweep files loaded', f.survey, count(*) FROM catalog.sweep_file AS f WHERE f.status = 'loaded' GROUP BY f.survey
UNION ALL
SELECT 5, 'pool galaxies', f.survey, sum(f.n_kept)::bigint
FROM catalog.sweep_file AS f WHERE f.status = 'loaded' GROUP BY f.survey
UNION ALL
SELECT 6, 'positives matched, tier ' || l.tier, m.survey, count(*)
FROM catalog.lens_match AS m JOIN catalog.lens AS l ON l.lens_id = m.lens_id
WHERE l.tier IS NOT NULL GROUP BY l.tier, m.survey
UNION ALL
SELECT 7, 'galaxies near a known lens', NULL, count(DISTINCT n.ls_id) FROM catalog.lens_neighbour AS n
UNION ALL
SELECT 8, 'drawn, ' || m.pool, d.survey, count(DISTINCT CASE WHEN m.label = 1 THEN m.lens_id ELSE m.ls_id END)
FROM sampling.draw_member AS m JOIN sampling.draw AS d ON d.draw_id = m.draw_id GROUP BY m.pool, d.survey
UNION ALL
SELECT 9, 'left out by the split guard', d.survey, count(DISTINCT m.ls_id)
FROM sampling.guard_drop AS g
JOIN sampling.draw_member AS m ON m.member_id = g.member_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
GROUP BY d.survey
UNION ALL
SELECT 10, 'cutouts ' || c.status, c.survey, count(*) FROM imaging.cutout AS c GROUP BY c.status, c.survey
UNION ALL
SELECT 11, 'models ' || m.status, m.survey, count(*) FROM training.model AS m GROUP BY m.status, m.survey
UNION ALL
SELECT 12, 'scores', m.survey, count(*)
FROM training.score AS s JOIN training.model AS m ON m.model_id = s.model_id GROUP BY m.survey;
"""
    )
    op.execute(
        """COMMENT ON VIEW results.stage_counts IS 'Grain: one count of one stage, in the order of the pipeline, per survey where the rows have one. Inputs: the tables of every stage; galaxies are counted by their load ledger, never by scanning the pool. Units: rows; drawn and left out: objects, counted once however many draws or schemes they are in. Excludes: nothing.'
"""
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA results CASCADE")
