-- Grain: one quantity of one cross-validation over its folds: auc, or a rate at one operating point.
-- Inputs: results.cross_validation_folds; evaluation.interval (Wilson, 95 %).
-- Units: mean, sd and range are over the folds counted. k of n are pooled over all folds, with their rate and interval.
--   sd_binomial: what sd_over_folds would be if folds differed by counting alone, sqrt of the mean of p (1 - p) / n.
--   n_test_accesses: readings of the folds held out, over all folds.
-- Excludes: a fold's rate where its n < 10 (its k and n still pool); the pooled rate where n < 10.
CREATE OR REPLACE VIEW results.cross_validation AS
WITH
    point AS (
        SELECT DISTINCT f.cross_validation_id, f.fold, f.auc, f.n_test_accesses FROM results.cross_validation_folds AS f
    ),
    accesses AS (
        SELECT p.cross_validation_id, sum(p.n_test_accesses)::bigint AS n_test_accesses
        FROM point AS p
        GROUP BY p.cross_validation_id
    ),
    rate AS (
        SELECT f.cross_validation_id, f.fpr_target, q.quantity, q.k, q.n
        FROM results.cross_validation_folds AS f
        CROSS JOIN LATERAL (
            VALUES
                ('recall_tier_a', f.n_recovered_tier_a, f.n_tier_a),
                ('recall_tier_b', f.n_recovered_tier_b, f.n_tier_b),
                ('fpr', f.n_false_positives, f.n_negatives)
        ) AS q (quantity, k, n)
    ),
    pooled AS (
        SELECT r.cross_validation_id, r.quantity, r.fpr_target, sum(r.k)::integer AS k, sum(r.n)::integer AS n
        FROM rate AS r
        GROUP BY r.cross_validation_id, r.quantity, r.fpr_target
    ),
    spread AS (
        SELECT
            r.cross_validation_id,
            r.quantity,
            r.fpr_target,
            count(*)::integer AS n_folds_counted,
            avg(r.k::double precision / r.n) AS mean,
            stddev_samp(r.k::double precision / r.n) AS sd_over_folds,
            min(r.k::double precision / r.n) AS lowest,
            max(r.k::double precision / r.n) AS highest,
            avg(1.0::double precision / r.n) AS mean_of_inverse_n
        FROM rate AS r
        WHERE r.n >= 10
        GROUP BY r.cross_validation_id, r.quantity, r.fpr_target
    )
SELECT
    cv.cross_validation_id,
    cv.name AS cross_validation_name,
    cv.n_folds,
    'auc'::text AS quantity,
    NULL::double precision AS fpr_target,
    count(p.auc)::integer AS n_folds_counted,
    avg(p.auc) AS mean,
    stddev_samp(p.auc) AS sd_over_folds,
    min(p.auc) AS lowest,
    max(p.auc) AS highest,
    NULL::integer AS k,
    NULL::integer AS n,
    NULL::double precision AS pooled,
    NULL::double precision AS pooled_lo,
    NULL::double precision AS pooled_hi,
    NULL::text AS interval_method,
    NULL::double precision AS sd_binomial,
    sum(p.n_test_accesses)::bigint AS n_test_accesses
FROM point AS p
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = p.cross_validation_id
GROUP BY cv.cross_validation_id, cv.name, cv.n_folds
UNION ALL
SELECT
    cv.cross_validation_id,
    cv.name,
    cv.n_folds,
    a.quantity,
    a.fpr_target,
    coalesce(s.n_folds_counted, 0),
    s.mean,
    s.sd_over_folds,
    s.lowest,
    s.highest,
    a.k,
    a.n,
    CASE WHEN a.n >= 10 THEN a.k::double precision / a.n END,
    CASE WHEN a.n >= 10 THEN i.lo END,
    CASE WHEN a.n >= 10 THEN i.hi END,
    CASE WHEN a.n >= 10 THEN i.method END,
    CASE WHEN a.n >= 10
        THEN sqrt(a.k::double precision / a.n * (1 - a.k::double precision / a.n) * s.mean_of_inverse_n)
    END,
    t.n_test_accesses
FROM pooled AS a
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = a.cross_validation_id
JOIN accesses AS t ON t.cross_validation_id = a.cross_validation_id
LEFT JOIN spread AS s
    ON s.cross_validation_id = a.cross_validation_id AND s.quantity = a.quantity AND s.fpr_target = a.fpr_target
LEFT JOIN evaluation.interval AS i ON i.k = a.k AND i.n = a.n AND i.method = 'wilson' AND i.level = 0.95;
