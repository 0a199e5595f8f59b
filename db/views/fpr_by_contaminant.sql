-- Grain: one pool of negatives, or one kind of confuser, at one operating point of one model, on one split.
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
