-- Grain: one operating point of one model and one sample of lenses (tier_a, tier_ab), on one split.
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
