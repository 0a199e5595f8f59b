-- Grain: one training positive (catalog.lens with a tier), per survey with a loaded pool and per split scheme.
-- Inputs: catalog.lens, lens_grade, lens_redshift, lens_match, galaxy (by key), sweep_file; sampling.split_scheme, split_cell.
-- Units: ra, dec in degrees; match_separation_arcsec in arcsec. weight: tier A 1.0, B 0.5 (the rule; a draw stores its own).
-- Excludes: lenses and cluster detections without a training tier. survey and scheme are NULL before a pool or scheme exists.
CREATE OR REPLACE VIEW results.positives AS
WITH
    surveys AS (
        SELECT DISTINCT f.survey, f.data_release FROM catalog.sweep_file AS f WHERE f.status = 'loaded'
    ),
    grades AS (
        SELECT
            g.lens_id,
            jsonb_agg(
                jsonb_build_object('paper', g.paper, 'grade', g.grade, 'score', g.score) ORDER BY g.paper, g.grade
            ) AS grades,
            min(g.grade) FILTER (WHERE g.grade IN ('A', 'B', 'C')) AS best_letter_grade
        FROM catalog.lens_grade AS g
        GROUP BY g.lens_id
    ),
    redshift AS (
        SELECT DISTINCT ON (z.lens_id) z.lens_id, z.z, z.method, z.reference
        FROM catalog.lens_redshift AS z
        ORDER BY z.lens_id, array_position(ARRAY['spec', 'phot', 'unknown'], z.method), z.redshift_id
    )
SELECT
    l.lens_id,
    l.name,
    l.ra,
    l.dec,
    l.tier,
    CASE l.tier WHEN 'A' THEN 1.0 ELSE 0.5 END::double precision AS weight,
    grades.grades,
    grades.best_letter_grade,
    redshift.z AS redshift,
    redshift.method AS redshift_method,
    redshift.reference AS redshift_reference,
    l.discovery,
    surveys.survey,
    surveys.data_release,
    m.ls_id,
    m.separation_arcsec AS match_separation_arcsec,
    galaxy.type AS match_type,
    CASE WHEN galaxy.type IN ('SER', 'DEV', 'REX') THEN sampling.nobs_z_bin(galaxy.nobs_z) END AS nobs_z_bin,
    CASE WHEN galaxy.type IN ('SER', 'DEV', 'REX') THEN galaxy.type END AS stratum_type,
    x.scheme_id,
    x.name AS scheme_name,
    cell.split
FROM catalog.lens AS l
LEFT JOIN surveys ON TRUE
LEFT JOIN grades ON grades.lens_id = l.lens_id
LEFT JOIN redshift ON redshift.lens_id = l.lens_id
LEFT JOIN catalog.lens_match AS m
    ON m.lens_id = l.lens_id AND m.survey = surveys.survey AND m.data_release = surveys.data_release
LEFT JOIN catalog.galaxy AS galaxy ON galaxy.ls_id = m.ls_id
LEFT JOIN sampling.split_scheme AS x ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = l.healpix_128
WHERE l.tier IS NOT NULL;
