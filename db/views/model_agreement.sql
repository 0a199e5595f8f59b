-- Grain: one object and one model, at one false-positive rate of the model's operating points (NULL: not evaluated).
-- Inputs: training.score, training.model; imaging.cutout, quarantine; sampling.draw_member, split_cell; evaluation.operating_point.
-- Units: score in [0, 1]. is_detected: at or above the model's own threshold, so that models are compared at matched rates.
--   rank_in_split: 1 is the highest score of the model in the split, ties by cutout.
-- Excludes: quarantined cutouts; cutouts scored outside the model's draw. Ask for one or two models: ranks are counted.
CREATE OR REPLACE VIEW results.model_agreement AS
WITH
    ranked AS (
        SELECT
            s.model_id, mo.name AS model_name, mo.survey, s.cutout_id, s.score, dm.label, dm.tier, dm.pool, dm.category,
            dm.lens_id, dm.ls_id, cell.split, cell.is_calibration,
            row_number() OVER (
                PARTITION BY s.model_id, mo.name, cell.split ORDER BY s.score DESC, s.cutout_id
            ) AS rank_in_split
        FROM training.score AS s
        JOIN training.model AS mo ON mo.model_id = s.model_id
        JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
        JOIN sampling.draw_member AS dm
            ON dm.draw_id = mo.draw_id
            AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
        JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    r.cutout_id,
    r.model_id,
    r.model_name,
    r.survey,
    r.label,
    r.tier,
    r.pool,
    r.category,
    r.lens_id,
    r.ls_id,
    r.split,
    r.is_calibration,
    r.score,
    r.rank_in_split,
    o.fpr_target,
    o.threshold,
    r.score >= o.threshold AS is_detected
FROM ranked AS r
LEFT JOIN evaluation.operating_point AS o ON o.model_id = r.model_id;
