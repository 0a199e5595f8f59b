-- `results.cone` for users of pg_sphere: its centre and the galaxies' positions are spoints. It searches through the Q3C index,
-- so the pool needs no second one. Made only where the extension pg_sphere is.
CREATE OR REPLACE FUNCTION results.cone_spoint(
    centre public.spoint,
    radius_arcsec double precision,
    only_survey text DEFAULT NULL
) RETURNS TABLE (
    ls_id bigint,
    "position" public.spoint,
    survey text,
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
    public.spoint(radians(found.ra), radians(found."dec")),
    found.survey,
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
FROM results.cone(
    -- The longitude just below a full turn comes out as 360 degrees.
    CASE
        WHEN degrees(public.long(centre)) < 360::double precision THEN degrees(public.long(centre))
        ELSE 0::double precision
    END,
    degrees(public.lat(centre)),
    cone_spoint.radius_arcsec,
    cone_spoint.only_survey
) AS found;
$$;
