-- One pass over the pool: who is eligible, of which kind, and with which keys.
-- Magnitude cuts are not dereddened: z < mag_z_max means flux_z > flux_z_min. Ellipticity is Tractor's (1 - q) / (1 + q).
-- An EXP galaxy is eligible only as a confuser; it stands in the stratum of its nobs bin that its key falls into, the types
-- sharing [0, 1) in proportion to their positives (share_lo, share_hi), so that EXP confusers fill the nobs bin evenly.
INSERT INTO draw_eligible (ls_id, nobs_z_bin, type, is_exp, category, ra, dec, healpix_128, key_n1, key_n2)
WITH
    suited AS (
        SELECT
            g.ls_id, g.ra, g.dec, g.healpix_128, g.type,
            sampling.nobs_z_bin(g.nobs_z) AS nobs_z_bin,
            CASE
                WHEN (g.type = 'DEV' OR (g.type = 'SER' AND g.sersic >= :ring_sersic_min)) AND g.flux_r >= :ring_flux_r_min
                    THEN 'ring'
                WHEN g.type IN ('EXP', 'SER', 'DEV')
                    AND sqrt(g.shape_e1 ^ 2 + g.shape_e2 ^ 2) >= :edge_on_ellipticity_min
                    AND g.shape_r_arcsec >= :edge_on_shape_r_min_arcsec
                    THEN 'edge_on'
                WHEN g.shape_r_arcsec >= :large_shape_r_min_arcsec AND g.flux_r >= :large_flux_r_min THEN 'large'
                -- g - r <= limit and r <= limit, written in fluxes
                WHEN g.flux_g > 0 AND g.flux_g >= g.flux_r * :blue_flux_ratio_min AND g.flux_r >= :blue_flux_r_min
                    THEN 'blue_clumpy'
            END AS category
        FROM catalog.galaxy AS g
        WHERE
            g.survey = :survey
            AND g.data_release = :data_release
            AND g.flux_z > :flux_z_min
            AND g.maskbits & :mask = 0
            AND g.nobs_g >= 1 AND g.nobs_r >= 1 AND g.nobs_z >= 1
            AND g.dec >= :dec_min_deg AND g.dec < :dec_max_deg
            AND NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = g.ls_id)
    ),
    shares AS (
        SELECT p.nobs_z_bin, p.type, p.share_lo, p.share_hi
        FROM
            unnest(
                CAST(:share_bins AS text[]), CAST(:share_types AS text[]),
                CAST(:share_lo AS double precision[]), CAST(:share_hi AS double precision[])
            )
            AS p (nobs_z_bin, type, share_lo, share_hi)
    )
SELECT
    s.ls_id, s.nobs_z_bin, p.type, s.type = 'EXP', s.category, s.ra, s.dec, s.healpix_128,
    sampling.draw_key(s.ls_id, :seed, 'N1'), sampling.draw_key(s.ls_id, :seed, 'N2')
FROM suited AS s
JOIN shares AS p
    ON p.nobs_z_bin = s.nobs_z_bin
    AND CASE
        WHEN s.type = 'EXP' THEN
            sampling.draw_key(s.ls_id, :seed, 'EXP') >= p.share_lo AND sampling.draw_key(s.ls_id, :seed, 'EXP') < p.share_hi
        ELSE s.type = p.type
    END
WHERE s.type <> 'EXP' OR s.category IS NOT NULL
