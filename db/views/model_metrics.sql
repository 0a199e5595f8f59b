-- Grain: one metric of one model on one split.
-- Inputs: evaluation.metric, evaluation.test_access; training.model.
-- Units: all in [0, 1]; the 95 % interval and its method where one was computed. auc; partial_auc: over FPR <= 1e-2,
--   McClish-standardised (0.5 for chance, 1 at best); partial_auc_raw: that area itself, at most 0.01; tpr0: recall
--   above the highest negative of the split. Positives are those of both tiers; with _tier_a, _tier_a_grade_a,
--   _tier_ab_graded (tier A, and tier B with a letter grade), ...: those against all negatives.
-- Excludes: a value and its interval where either class has fewer than 10 (n_positives and n_negatives stand); models trained
--   on shuffled labels are marked is_label_shuffled.
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
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.value END AS value,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.lo END AS lo,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.hi END AS hi,
    CASE WHEN least(e.n_positives, e.n_negatives) >= 10 THEN e.method END AS interval_method,
    e.n_positives,
    e.n_negatives,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.metric AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
