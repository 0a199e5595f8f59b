-- Grain: one metric of one model on one split.
-- Inputs: evaluation.metric, evaluation.test_access; training.model.
-- Units: AUC in [0, 1]; the interval and its method where one was computed.
-- Excludes: nothing; models trained on shuffled labels are marked is_label_shuffled.
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
    e.value,
    e.lo,
    e.hi,
    e.method AS interval_method,
    e.n_positives,
    e.n_negatives,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.metric AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
