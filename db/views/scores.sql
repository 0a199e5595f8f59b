-- Grain: one score of one model for one cutout of the model's draw.
-- Inputs: training.score, training.model; imaging.cutout, quarantine; sampling.draw_member, stratum, split_cell; catalog.lens, lens_grade,
--   galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec.
--   best_letter_grade: the best A, B or C that any paper gave a positive. nobs_z, psf_fwhm_z_arcsec: the galaxy's own (for a
--   positive, of its match), else the cutout's. is_calibration: the part of val on which scores are calibrated and ensembles
--   combined.
-- Excludes: quarantined cutouts; cutouts scored outside the model's draw.
CREATE OR REPLACE VIEW results.scores AS
WITH
    letter_grade AS (
        SELECT l.lens_id, min(l.grade) AS best_letter_grade
        FROM catalog.lens_grade AS l
        WHERE l.grade IN ('A', 'B', 'C')
        GROUP BY l.lens_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    sc.cutout_id,
    sc.score,
    dm.label,
    dm.pool,
    dm.category,
    dm.tier,
    cell.split,
    st.nobs_z_bin,
    st.type AS stratum_type,
    dm.inclusion_probability,
    dm.lens_id,
    l.name AS lens_name,
    l.discovery,
    dm.ls_id,
    c.ra,
    c.dec,
    dm.healpix_128,
    c.uri,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    g.psf_fwhm_r_arcsec,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag,
    cell.is_calibration,
    grade.best_letter_grade
FROM training.score AS sc
JOIN training.model AS mo ON mo.model_id = sc.model_id
JOIN imaging.cutout AS c ON c.cutout_id = sc.cutout_id
JOIN sampling.draw_member AS dm
    ON dm.draw_id = mo.draw_id
    AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
LEFT JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = dm.ls_id
LEFT JOIN letter_grade AS grade ON dm.label = 1 AND grade.lens_id = dm.lens_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = sc.cutout_id);
