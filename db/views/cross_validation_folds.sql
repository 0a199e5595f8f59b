-- Grain: one fold of one cross-validation, at one operating point of the model that was trained without it.
-- Inputs: evaluation.fold, cross_validation; sampling.split_assignment, split_scheme; results.threshold_table, model_metrics
--   (split test: the fold held out).
-- Units: rates k / n with Wilson 95 % intervals; AUC with a bootstrap by sky cell; guard_arcsec in arcsec.
-- Excludes: folds that were not evaluated yet.
CREATE OR REPLACE VIEW results.cross_validation_folds AS
SELECT
    cv.cross_validation_id,
    cv.name AS cross_validation_name,
    t.survey,
    cv.n_folds,
    cv.fold_nside,
    cv.guard_arcsec,
    base.name AS base_scheme_name,
    f.fold,
    f.model_id,
    t.model_name,
    f.n_train,
    f.n_test,
    f.n_positives,
    assigned.n_guard_drops,
    assigned.n_test_sky_drops,
    a.value AS auc,
    a.lo AS auc_lo,
    a.hi AS auc_hi,
    t.fpr_target,
    t.threshold,
    t.is_threshold_uncertain,
    t.n_false_positives,
    t.n_negatives,
    t.fpr,
    t.fpr_lo,
    t.fpr_hi,
    t.n_recovered_tier_a,
    t.n_tier_a,
    t.recall_tier_a,
    t.recall_tier_a_lo,
    t.recall_tier_a_hi,
    t.n_recovered_tier_b,
    t.n_tier_b,
    t.recall_tier_b,
    t.recall_tier_b_lo,
    t.recall_tier_b_hi,
    t.n_test_accesses
FROM evaluation.fold AS f
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = f.cross_validation_id
JOIN sampling.split_scheme AS base ON base.scheme_id = cv.base_scheme_id
JOIN sampling.split_assignment AS assigned ON assigned.scheme_id = f.scheme_id AND assigned.draw_id = cv.draw_id
JOIN results.threshold_table AS t ON t.model_id = f.model_id AND t.split = 'test'
LEFT JOIN results.model_metrics AS a ON a.model_id = f.model_id AND a.split = 'test' AND a.metric = 'auc';
