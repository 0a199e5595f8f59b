-- Grain: one feature, or one classifier, of the audit of one draw's cutouts.
-- Inputs: imaging.shortcut_feature; sampling.draw.
-- Units: AUC folded as max(AUC, 1 - AUC); interval by bootstrap over sky cells, 95 %, of the AUC that judged_by names.
-- Excludes: nothing. is_fault: red where lensing itself is no excuse.
CREATE OR REPLACE VIEW results.shortcut_audit AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    f.version,
    f.feature,
    f.kind,
    f.is_expected_physics,
    f.n_positives,
    f.n_negatives,
    f.n_matched_positives,
    f.auc_raw,
    f.auc_matched,
    f.auc_lo,
    f.auc_hi,
    'bootstrap by sky cell'::text AS interval_method,
    f.verdict,
    (f.verdict = 'red' AND NOT f.is_expected_physics) AS is_fault,
    f.auc_adjusted,
    f.judged_by
FROM imaging.shortcut_feature AS f
JOIN sampling.draw AS d ON d.draw_id = f.draw_id;
