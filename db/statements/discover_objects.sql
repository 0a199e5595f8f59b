-- Every object that a model scored, with what its place in the survey is told by: whether the model's draw took it, and with
-- what probability; whether the draw could have taken it (is_eligible, by the draw's own rules as in draw_pass); its kind
-- (bin of nobs_z, type, confuser or not), within which a draw takes all galaxies with one probability; and whether a known
-- lens is near. A lens counts as the galaxy that it matches. Quarantined cutouts are left out.
SELECT
    s.cutout_id,
    s.score,
    coalesce(l.healpix_128, g.healpix_128) AS healpix_128,
    coalesce(cell.split, '') AS split,
    c.lens_id IS NOT NULL AS is_lens,
    g.ls_id IS NOT NULL AS is_galaxy,
    m.member_id IS NOT NULL AND m.category IS DISTINCT FROM 'mined' AS is_drawn,
    m.inclusion_probability,
    m.member_id IS NOT NULL AND coalesce(cell.split = 'train', false)
    AND NOT EXISTS (SELECT FROM sampling.guard_drop AS d WHERE d.scheme_id = :scheme_id AND d.member_id = m.member_id)
        AS is_trained_on,
    EXISTS (SELECT FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id) AS is_near_lens,
    coalesce(
        sampling.nobs_z_bin(g.nobs_z) || ' ' || g.type || CASE WHEN confuser.code > 0 THEN ' confuser' ELSE '' END, ''
    ) AS kind,
    m.member_id IS NULL
    AND c.ls_id IS NOT NULL
    AND coalesce(
        :has_rules
        AND g.flux_z > :flux_z_min
        AND g.dec >= :dec_min_deg AND g.dec < :dec_max_deg
        AND g.maskbits & :mask = 0
        AND g.nobs_g >= 1 AND g.nobs_r >= 1 AND g.nobs_z >= 1
        AND (g.type <> 'EXP' OR confuser.code > 0),
        false
    ) AS is_eligible
FROM training.score AS s
JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
LEFT JOIN catalog.lens AS l ON l.lens_id = c.lens_id
LEFT JOIN catalog.lens_match AS k
    ON k.lens_id = c.lens_id AND k.survey = c.survey AND k.data_release = c.data_release
LEFT JOIN catalog.galaxy AS g ON g.ls_id = coalesce(c.ls_id, k.ls_id)
LEFT JOIN LATERAL (
    SELECT sampling.confuser_code(
        ascii(g.type), g.flux_g, g.flux_r, g.sersic, g.shape_r_arcsec,
        CAST(g.shape_e1 AS double precision) * g.shape_e1 + CAST(g.shape_e2 AS double precision) * g.shape_e2,
        :ring_sersic_min, :ring_flux_r_min, :edge_on_ellipticity_min, :edge_on_shape_r_min_arcsec,
        :large_shape_r_min_arcsec, :large_flux_r_min, :blue_flux_ratio_min, :blue_flux_r_min
    ) AS code
) AS confuser ON TRUE
LEFT JOIN sampling.draw_member AS m ON m.draw_id = :draw_id AND m.label = 0 AND m.ls_id = c.ls_id
LEFT JOIN sampling.split_cell AS cell
    ON cell.scheme_id = :scheme_id AND cell.healpix_128 = coalesce(l.healpix_128, g.healpix_128)
WHERE
    s.model_id = :model_id
    AND c.version = :cutout_version
    AND NOT EXISTS (SELECT FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
ORDER BY s.cutout_id
