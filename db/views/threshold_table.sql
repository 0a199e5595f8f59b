-- Grain: one operating point of one model, with what it does on one split.
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
