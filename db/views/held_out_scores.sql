-- Grain: one held-out lens of one model: a lens found in ground-based imaging that is no training positive, no member of the
--   model's draw, and has no training lens within 11 arcsec.
-- Inputs: evaluation.held_out; training.model, score; imaging.cutout, quarantine; sampling.split_cell; catalog.lens,
--   lens_grade, lens_match, galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf and separation in
--   arcsec. best_letter_grade: the best A, B or C that any paper gave. ls_id and the columns of the galaxy: its Tractor
--   match, NULL without one. split: that of its cell; a lens in a cell of train was not trained on, but galaxies around it
--   may have been, as negatives.
-- Excludes: lenses that have got a training tier since; rejected and quarantined cutouts; lenses without a cutout of the model's version, or without a score.
CREATE OR REPLACE VIEW results.held_out_scores AS
WITH
    grade AS (
        SELECT
            g.lens_id,
            min(g.grade) FILTER (WHERE g.grade IN ('A', 'B', 'C')) AS best_letter_grade,
            array_agg(DISTINCT g.paper ORDER BY g.paper) AS papers
        FROM catalog.lens_grade AS g
        GROUP BY g.lens_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    h.lens_id,
    l.name AS lens_name,
    l.discovery,
    grade.best_letter_grade,
    coalesce(grade.papers, '{}') AS papers,
    s.cutout_id,
    s.score,
    c.ra,
    c.dec,
    l.healpix_128,
    cell.split,
    cell.is_calibration,
    c.uri,
    m.ls_id,
    m.separation_arcsec AS match_separation_arcsec,
    g.type,
    sampling.nobs_z_bin(g.nobs_z) AS nobs_z_bin,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    coalesce(g.psf_fwhm_r_arcsec, c.psf_fwhm_r_arcsec) AS psf_fwhm_r_arcsec,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag
FROM evaluation.held_out AS h
JOIN training.model AS mo ON mo.draw_id = h.draw_id
JOIN catalog.lens AS l ON l.lens_id = h.lens_id AND l.tier IS NULL
JOIN imaging.cutout AS c
    ON c.lens_id = h.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version AND c.status <> 'rejected'
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = l.healpix_128
LEFT JOIN grade ON grade.lens_id = h.lens_id
LEFT JOIN catalog.lens_match AS m
    ON m.lens_id = h.lens_id AND m.survey = c.survey AND m.data_release = c.data_release
LEFT JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id);
