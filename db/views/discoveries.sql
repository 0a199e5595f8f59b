-- Grain: one candidate of one model: a galaxy in the survey's top fraction by score, near no lens known when it was found.
-- Inputs: evaluation.discovery, discovery_cut, test_access; training.model; imaging.cutout; sampling.draw_member, split_cell;
--   catalog.galaxy (by key), lens_neighbour, lens.
-- Units: ra, dec in degrees; mag_* AB, not dereddened; psf and separations in arcsec. survey_quantile: fraction of the
--   survey's galaxies that reach the score. probability: that of a lens at `prevalence`, NULL without a calibration.
--   known_lens_*: the nearest lens or cluster core within 11 arcsec that has become known since; NULL: none. pool: N1 or N2
--   of the model's draw, NULL for a galaxy that is no member. is_trained_on: the model was taught it as a negative.
-- Excludes: objects below the threshold; those within 11 arcsec of a lens known at checked_at.
CREATE OR REPLACE VIEW results.discoveries AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    d.rank,
    d.score,
    d.survey_quantile,
    d.probability,
    d.probability_lo,
    d.probability_hi,
    cut.fraction,
    cut.prevalence,
    cut.threshold,
    cut.threshold_lo,
    cut.threshold_hi,
    cut.n_above,
    d.cutout_id,
    c.uri,
    c.ls_id,
    c.ra,
    c.dec,
    g.healpix_128,
    cell.split,
    d.is_trained_on,
    dm.pool,
    dm.category,
    known.name AS known_lens_name,
    known.separation_arcsec AS known_lens_separation_arcsec,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    g.nobs_z,
    g.psf_fwhm_r_arcsec,
    g.psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag,
    cut.checked_at,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.discovery AS d
JOIN evaluation.discovery_cut AS cut ON cut.model_id = d.model_id
JOIN training.model AS mo ON mo.model_id = d.model_id
JOIN imaging.cutout AS c ON c.cutout_id = d.cutout_id
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN accesses ON accesses.model_id = d.model_id
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = g.healpix_128
LEFT JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
