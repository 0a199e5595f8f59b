-- All pool galaxies within a radius of a position, nearest first: `results.nearest` without a limit, and its columns.
-- Plain SQL, so that the planner puts `nearest` in its place.
CREATE OR REPLACE FUNCTION results.cone(
    centre_ra double precision,
    centre_dec double precision,
    radius_arcsec double precision,
    only_survey text DEFAULT NULL
) RETURNS TABLE (
    ls_id bigint,
    survey text,
    data_release smallint,
    ra double precision,
    "dec" double precision,
    type text,
    mag_g_ab double precision,
    mag_r_ab double precision,
    mag_z_ab double precision,
    nobs_z smallint,
    separation_arcsec double precision,
    lens_name text,
    lens_tier text,
    is_lens_claim boolean,
    lens_separation_arcsec double precision
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
AS $$
SELECT
    found.ls_id,
    found.survey,
    found.data_release,
    found.ra,
    found."dec",
    found.type,
    found.mag_g_ab,
    found.mag_r_ab,
    found.mag_z_ab,
    found.nobs_z,
    found.separation_arcsec,
    found.lens_name,
    found.lens_tier,
    found.is_lens_claim,
    found.lens_separation_arcsec
FROM results.nearest(cone.centre_ra, cone.centre_dec, cone.radius_arcsec, NULL, cone.only_survey) AS found;
$$;
