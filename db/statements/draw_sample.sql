-- A rough count of what a draw finds in each cell of the pool, from a sample of its pages; see draw_pass.
-- Only the amount of work depends on it, never the draw: galaxies near a known lens are not left out here.
SELECT
    CASE WHEN g.nobs_z <= 2 THEN 0 WHEN g.nobs_z <= 5 THEN 20 WHEN g.nobs_z <= 10 THEN 40 ELSE 60 END
        + CASE ascii(g.type) WHEN ascii('S') THEN 0 WHEN ascii('D') THEN 5 WHEN ascii('R') THEN 10 ELSE 15 END
        + sampling.confuser_code(
            ascii(g.type), g.flux_g, g.flux_r, g.sersic, g.shape_r_arcsec,
            CAST(g.shape_e1 AS double precision) * g.shape_e1 + CAST(g.shape_e2 AS double precision) * g.shape_e2,
            :ring_sersic_min, :ring_flux_r_min, :edge_on_ellipticity_min, :edge_on_shape_r_min_arcsec,
            :large_shape_r_min_arcsec, :large_flux_r_min, :blue_flux_ratio_min, :blue_flux_r_min
        ) AS code,
    count(*) AS n_galaxies
FROM catalog.galaxy AS g TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)
WHERE
    g.survey = :survey
    AND g.data_release = :data_release
    AND g.flux_z > :flux_z_min
    AND g.maskbits & :mask = 0
    AND g.nobs_g >= 1 AND g.nobs_r >= 1 AND g.nobs_z >= 1
    AND g.dec >= :dec_min_deg AND g.dec < :dec_max_deg
GROUP BY code
