-- Grain: one pair of models on one split at one false-positive rate, among positives or among negatives.
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
