-- Grain: one cutout of one draw under one split scheme (and cutout version).
-- Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop;
--   imaging.cutout, quarantine; catalog.lens_grade, galaxy (by key).
-- Units: ra, dec in degrees; weight is dimensionless, for the training loss. best_letter_grade: the best A, B or C that any
--   paper gave a positive. nobs_z, psf_fwhm_z_arcsec: the galaxy's own (for a positive, of its match), else the cutout's.
--   is_calibration: the part of val on which scores are calibrated and ensembles combined, and no checkpoint is chosen.
-- Excludes: rejected and quarantined cutouts; negatives that the scheme's guard dropped; draws not yet guarded; members
--   without a cutout.
CREATE OR REPLACE VIEW results.manifest AS
WITH
    member AS (
        SELECT
            m.member_id, m.draw_id, m.label, m.weight, m.pool, m.category, m.tier, m.stratum_id,
            m.inclusion_probability, m.lens_id, m.ls_id, m.healpix_128
        FROM sampling.draw_member AS m
    ),
    positive_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        JOIN imaging.cutout AS c ON c.lens_id = m.lens_id AND c.survey = d.survey
        WHERE m.label = 1 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    negative_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN imaging.cutout AS c ON c.ls_id = m.ls_id
        WHERE m.label = 0 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    member_cutout AS (
        SELECT p.member_id, p.cutout_id FROM positive_cutout AS p
        UNION ALL
        SELECT n.member_id, n.cutout_id FROM negative_cutout AS n
    ),
    letter_grade AS (
        SELECT l.lens_id, min(l.grade) AS best_letter_grade
        FROM catalog.lens_grade AS l
        WHERE l.grade IN ('A', 'B', 'C')
        GROUP BY l.lens_id
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    x.scheme_id,
    x.name AS scheme_name,
    d.survey,
    c.cutout_id,
    c.version,
    c.layer,
    m.member_id,
    c.uri,
    c.sha256,
    m.label,
    m.weight,
    cell.split,
    m.pool,
    m.category,
    m.tier,
    m.stratum_id,
    s.nobs_z_bin,
    s.type,
    m.inclusion_probability,
    m.lens_id,
    m.ls_id,
    c.ra,
    c.dec,
    m.healpix_128,
    cell.is_calibration,
    grade.best_letter_grade,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec
FROM member_cutout AS mc
JOIN member AS m ON m.member_id = mc.member_id
JOIN imaging.cutout AS c ON c.cutout_id = mc.cutout_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
JOIN sampling.split_assignment AS assigned ON assigned.draw_id = m.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = m.healpix_128
LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
LEFT JOIN letter_grade AS grade ON m.label = 1 AND grade.lens_id = m.lens_id
WHERE NOT EXISTS (
    SELECT 1 FROM sampling.guard_drop AS g WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id
);
