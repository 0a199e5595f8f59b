-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point, evaluated_split; training.score (through its index), training.model; imaging.cutout, quarantine;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: quarantined cutouts; negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates);
--   objects of the test split until the model was evaluated on it.
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    e.fpr_target,
    e.threshold,
    row_number() OVER (PARTITION BY e.operating_point_id, cell.split ORDER BY e.score DESC, e.cutout_id) AS rank_in_split,
    e.score,
    e.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.ls_id,
    cell.split,
    dm.pool,
    dm.category,
    st.nobs_z_bin,
    g.type,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    dm.inclusion_probability
FROM exceedance AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
JOIN imaging.cutout AS c ON c.cutout_id = e.cutout_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id)
    AND (
        cell.split <> 'test'
        OR EXISTS (SELECT 1 FROM evaluation.evaluated_split AS v WHERE v.model_id = mo.model_id AND v.split = 'test')
    );
