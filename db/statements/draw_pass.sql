-- The one pass of a draw over the pool: every eligible galaxy is counted in its cell (bin of nobs_z, type, kind of confuser),
-- and those whose key is low enough to be drawn are kept as rows. CREATE TABLE AS, since INSERT is never run in parallel.
-- Magnitude cuts are not dereddened: z < mag_z_max means flux_z > flux_z_min. A cell's number is its galaxies' code; EXP
-- galaxies stand in one of up to three strata of their nobs bin, by key: cells 80 and 160 further on are those of the second
-- and third. EXP galaxies that are no confusers (code 15 of 20) are not eligible. The limits stand in arrays by cell: a join
-- with a table of cells would compute each code twice, which costs as much as reading the row.
-- Galaxies near a known lens are a list of constants, which PostgreSQL looks through by a hash within the condition: half the
-- price of a join with their table.
-- The columns of a candidate are those of its one row; max() hands them through the grouping, and costs less than keys.
-- OFFSET 0 keeps the planner from looking into a subquery, where it would copy the code to wherever it is used, and see
-- ls_id, take every row for a group of its own, and let one process do all the grouping; a plain 0 has to be cast, and a
-- cast there keeps parallel workers out.
CREATE TEMPORARY TABLE draw_pass ON COMMIT DROP AS
WITH
    coded AS (
        SELECT
            CASE
                WHEN g.maskbits & :mask = 0 AND g.nobs_g >= 1 AND g.nobs_r >= 1 AND g.nobs_z >= 1 THEN
                    CASE WHEN g.nobs_z <= 2 THEN 0 WHEN g.nobs_z <= 5 THEN 20 WHEN g.nobs_z <= 10 THEN 40 ELSE 60 END
                    + CASE ascii(g.type) WHEN ascii('S') THEN 0 WHEN ascii('D') THEN 5 WHEN ascii('R') THEN 10 ELSE 15 END
                    + sampling.confuser_code(
                        ascii(g.type), g.flux_g, g.flux_r, g.sersic, g.shape_r_arcsec,
                        CAST(g.shape_e1 AS double precision) * g.shape_e1 + CAST(g.shape_e2 AS double precision) * g.shape_e2,
                        :ring_sersic_min, :ring_flux_r_min, :edge_on_ellipticity_min, :edge_on_shape_r_min_arcsec,
                        :large_shape_r_min_arcsec, :large_flux_r_min, :blue_flux_ratio_min, :blue_flux_r_min
                    )
            END AS code,
            g.ls_id,
            g.ra,
            g.dec,
            g.healpix_128
        FROM catalog.galaxy AS g
        -- A row is unpacked up to the last column that a condition names: those on the first columns come first, and alone.
        WHERE
            g.flux_z > :flux_z_min
            AND g.dec >= :dec_min_deg AND g.dec < :dec_max_deg
            AND g.data_release = :data_release
            AND g.survey = :survey
            AND g.ls_id <> ALL (CAST(:near_lens AS bigint[]))
        OFFSET bigint '0'
    ),
    placed AS (
        SELECT
            CASE
                WHEN c.code % 20 < 15 THEN c.code
                WHEN sampling.draw_key(c.ls_id, :salt_exp) < (CAST(:exp_second AS bigint[]))[c.code / 20 + 1] THEN c.code
                WHEN sampling.draw_key(c.ls_id, :salt_exp) < (CAST(:exp_third AS bigint[]))[c.code / 20 + 1]
                    THEN c.code + 80
                ELSE c.code + 160
            END AS cell,
            c.ls_id,
            c.ra,
            c.dec,
            c.healpix_128
        FROM coded AS c
        WHERE c.code % 20 <> 15
    ),
    sorted AS (
        SELECT
            p.cell,
            CASE
                -- EXP galaxies are no N1, and what is no confuser is no N2: half of the keys need not be computed.
                WHEN
                    p.cell % 20 < 15
                    AND sampling.draw_key(p.ls_id, :salt_n1) <= (CAST(:last_keys_n1 AS bigint[]))[p.cell + 1]
                    THEN p.ls_id
                WHEN
                    p.cell % 5 > 0
                    AND sampling.draw_key(p.ls_id, :salt_n2) <= (CAST(:last_keys_n2 AS bigint[]))[p.cell + 1]
                    THEN p.ls_id
            END AS ls_id,
            p.ra,
            p.dec,
            p.healpix_128
        FROM placed AS p
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
