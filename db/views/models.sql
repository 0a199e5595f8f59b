-- Grain: one model, network or ensemble.
-- Inputs: training.model, epoch, ensemble, ensemble_member; sampling.draw, split_scheme; evaluation.test_access.
-- Units: best_val_auc in [0, 1], on the part of val that epochs are chosen by; member_coefficients: weights in an average,
--   coefficients of log-odds otherwise, in the order of members. n_combined_on: objects of the calibration part.
-- Excludes: nothing; failed and unfinished models have their status.
CREATE OR REPLACE VIEW results.models AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    ),
    member AS (
        SELECT
            e.model_id,
            array_agg(m.name ORDER BY e.position) AS names,
            array_agg(e.coefficient ORDER BY e.position) AS coefficients
        FROM training.ensemble_member AS e
        JOIN training.model AS m ON m.model_id = e.member_model_id
        GROUP BY e.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.kind,
    mo.survey,
    d.name AS draw_name,
    x.name AS scheme_name,
    mo.cutout_version,
    mo.architecture,
    mo.n_parameters,
    mo.status,
    mo.error,
    mo.is_label_shuffled,
    mo.best_epoch,
    best.val_auc AS best_val_auc,
    mo.n_train,
    mo.n_val,
    coalesce(member.names, '{}') AS members,
    coalesce(member.coefficients, '{}') AS member_coefficients,
    e.n_positives + e.n_negatives AS n_combined_on,
    mo.gate_accepted_reason,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses,
    mo.manifest_sha256,
    mo.created_at
FROM training.model AS mo
JOIN sampling.draw AS d ON d.draw_id = mo.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = mo.scheme_id
LEFT JOIN training.epoch AS best ON best.model_id = mo.model_id AND best.epoch = mo.best_epoch
LEFT JOIN training.ensemble AS e ON e.model_id = mo.model_id
LEFT JOIN member ON member.model_id = mo.model_id
LEFT JOIN accesses ON accesses.model_id = mo.model_id;
