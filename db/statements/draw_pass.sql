-- The one pass of a draw over the pool: every eligible galaxy is counted in its cell (bin of nobs_z, type, kind of confuser),
-- and those whose key is low enough to be drawn are kept as rows. CREATE TABLE AS, since INSERT is never run in parallel.
-- Magnitude cuts are not dereddened: z < mag_z_max means flux_z > flux_z_min. A cell of EXP galaxies stands for one of the
-- strata of its nobs bin and takes the keys from exp_from to exp_to; EXP galaxies that are no confusers have no cell.
-- The columns of a candidate are those of its one row; max() hands them through the grouping, and costs less than keys.
-- OFFSET 0 keeps the planner from looking into the subquery, where it would see ls_id, take every row for a group of its
-- own, and let one process do all the grouping; a plain 0 has to be cast, and a cast there keeps parallel workers out.
CREATE TEMPORARY TABLE draw_pass ON COMMIT DROP AS
WITH
    sorted AS (
        SELECT
            c.cell,
            CASE
                WHEN
                    sampling.draw_key(g.ls_id, :salt_n1) <= c.last_key_n1
                    OR sampling.draw_key(g.ls_id, :salt_n2) <= c.last_key_n2
                    THEN g.ls_id
            END AS ls_id,
            g.ra,
            g.dec,
            g.healpix_128
        FROM catalog.galaxy AS g
        JOIN
            json_to_recordset(:cells)
            AS c (cell integer, code integer, exp_from bigint, exp_to bigint, last_key_n1 bigint, last_key_n2 bigint)
            ON c.code = CASE
                WHEN g.maskbits & :mask = 0 AND g.nobs_g >= 1 AND g.nobs_r >= 1 AND g.nobs_z >= 1 THEN
                    CASE WHEN g.nobs_z <= 2 THEN 0 WHEN g.nobs_z <= 5 THEN 20 WHEN g.nobs_z <= 10 THEN 40 ELSE 60 END
                    + CASE g.type WHEN 'SER' THEN 0 WHEN 'DEV' THEN 5 WHEN 'REX' THEN 10 ELSE 15 END
                    + sampling.confuser_code(
                        g.type, g.flux_g, g.flux_r, g.sersic, g.shape_r_arcsec,
                        sqrt(CAST(g.shape_e1 AS double precision) * g.shape_e1 + CAST(g.shape_e2 AS double precision) * g.shape_e2),
                        :ring_sersic_min, :ring_flux_r_min, :edge_on_ellipticity_min, :edge_on_shape_r_min_arcsec,
                        :large_shape_r_min_arcsec, :large_flux_r_min, :blue_flux_ratio_min, :blue_flux_r_min
                    )
            END
            AND (c.exp_from IS NULL OR sampling.draw_key(g.ls_id, :salt_exp) BETWEEN c.exp_from AND c.exp_to)
        -- A row is unpacked up to the last column that a condition names: those on the first columns come first, and alone.
        WHERE
            g.flux_z > :flux_z_min
            AND g.dec >= :dec_min_deg AND g.dec < :dec_max_deg
            AND g.data_release = :data_release
            AND g.survey = :survey
            AND NOT EXISTS (SELECT FROM catalog.lens_neighbour AS n WHERE n.ls_id = g.ls_id)
        OFFSET bigint '0'
    )
SELECT
    s.cell,
    s.ls_id,
    max(s.ra) AS ra,
    max(s.dec) AS dec,
    max(s.healpix_128) AS healpix_128,
    count(*) AS n_galaxies
FROM sorted AS s
GROUP BY s.cell, s.ls_id
