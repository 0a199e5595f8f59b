-- Grain: one bin of predicted probability of one model: raw or calibrated, in one binning, on one split.
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
