-- The n pool galaxies nearest to a position (all of them where n is NULL) within a radius, nearest first.
-- Inputs: catalog.galaxy through its Q3C index; lens_match, lens (by key). Units: degrees, arcsec; mag_* AB, not dereddened,
-- NULL where the flux is not positive. lens_*: the known lens whose match this galaxy is, as of the last `stronglens match`.
-- The radius includes a galaxy at exactly that distance (1e-6 arcsec, the rounding of db/sky.py); ties go to the smaller ls_id.
-- SECURITY DEFINER: readers have no rights on catalog. Its path holds public, since q3c_radial_query, which the planner writes
-- out in place, names its own functions without a schema. So nobody else may create there (`stronglens db bootstrap` sees to it),
-- and every literal has the exact type of its operator in pg_catalog, which an operator elsewhere cannot fit better.
-- One generic plan serves all positions, since planning the 100 ranges of q3c_radial_query takes longer than reading them;
-- without known positions the planner would guess that they hold half of the pool, so it may neither scan it, nor compile, nor
-- start workers.
CREATE OR REPLACE FUNCTION results.nearest(
    centre_ra double precision,
    centre_dec double precision,
    radius_arcsec double precision,
    n integer DEFAULT 1,
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
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10 COST 1000
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    IF (centre_ra >= 0::double precision AND centre_ra < 360::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'ra is % degrees, expected at least 0 and less than 360', coalesce(centre_ra::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (centre_dec >= -90::double precision AND centre_dec <= 90::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'dec is % degrees, expected -90 to 90', coalesce(centre_dec::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (radius_arcsec > 0::double precision AND radius_arcsec <= 3600::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'radius is % arcsec, expected more than 0 and at most 3600',
            coalesce(radius_arcsec::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF n < 1 THEN
        RAISE EXCEPTION 'n is %, expected at least 1, or NULL for all', n USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT
        near.ls_id,
        near.survey,
        near.data_release,
        near.ra,
        near."dec",
        near.type,
        CASE
            WHEN near.flux_g > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_g::double precision)
        END,
        CASE
            WHEN near.flux_r > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_r::double precision)
        END,
        CASE
            WHEN near.flux_z > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_z::double precision)
        END,
        near.nobs_z,
        near.distance,
        known.name,
        known.tier,
        known.is_lens_claim,
        known.separation_arcsec
    FROM (
        SELECT
            g.*,
            public.q3c_dist(g.ra, g."dec", centre_ra, centre_dec) * 3600::double precision AS distance
        FROM catalog.galaxy AS g
        WHERE
            public.q3c_radial_query(
                g.ra,
                g."dec",
                centre_ra,
                centre_dec,
                (radius_arcsec + 1e-6::double precision) / 3600::double precision
            )
            AND (only_survey IS NULL OR g.survey = only_survey)
        ORDER BY distance, g.ls_id
        LIMIT n
    ) AS near
    LEFT JOIN LATERAL (
        SELECT l.name, l.tier, l.is_lens_claim, m.separation_arcsec
        FROM catalog.lens_match AS m
        JOIN catalog.lens AS l ON l.lens_id = m.lens_id
        WHERE m.ls_id = near.ls_id
        ORDER BY l.is_lens_claim DESC, m.separation_arcsec, l.lens_id
        LIMIT 1
    ) AS known ON TRUE
    ORDER BY near.distance, near.ls_id;
END
$$;
