-- Grain: one sample in one bin of one observing condition, at one operating point of one model, on one split.
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
