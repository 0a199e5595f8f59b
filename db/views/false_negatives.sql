-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point, evaluated_split; sampling.draw_member, stratum, split_cell; imaging.cutout, quarantine; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: quarantined cutouts; positives without a cutout (rejected pixels), which have no score; objects of the test split
--   until the model was evaluated on it.
CREATE OR REPLACE VIEW results.false_negatives AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    row_number() OVER (PARTITION BY o.operating_point_id, cell.split ORDER BY s.score, s.cutout_id) AS rank_in_split,
    s.score,
    s.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.lens_id,
    l.name AS lens_name,
    dm.tier,
    l.discovery,
    cell.split,
    st.nobs_z_bin,
    st.type
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.label = 1
JOIN imaging.cutout AS c ON c.lens_id = dm.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id AND s.score < o.threshold
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    AND (
        cell.split <> 'test'
        OR EXISTS (SELECT 1 FROM evaluation.evaluated_split AS v WHERE v.model_id = mo.model_id AND v.split = 'test')
    );
