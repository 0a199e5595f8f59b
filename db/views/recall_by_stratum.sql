-- Grain: one sample of positives in one stratum or pooled margin, at one operating point of one model, on one split.
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
