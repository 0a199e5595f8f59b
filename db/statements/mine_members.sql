-- The members of a draw once more under another draw with the same strata, without the negatives that lie near a lens
-- known now: since the draw was made they have become neighbours of a lens, or lenses.
INSERT INTO sampling.draw_member
    (
        draw_id, label, pool, lens_id, tier, ls_id, stratum_id, category, inclusion_probability, weight, ra, dec,
        healpix_128
    )
SELECT
    :draw_id, m.label, m.pool, m.lens_id, m.tier, m.ls_id, own.stratum_id, m.category, m.inclusion_probability, m.weight,
    m.ra, m.dec, m.healpix_128
FROM sampling.draw_member AS m
LEFT JOIN sampling.stratum AS theirs ON theirs.stratum_id = m.stratum_id
LEFT JOIN sampling.stratum AS own
    ON own.draw_id = :draw_id AND own.nobs_z_bin = theirs.nobs_z_bin AND own.type = theirs.type
WHERE
    m.draw_id = :base_draw_id
    AND (m.label = 1 OR NOT EXISTS (SELECT FROM catalog.lens_neighbour AS n WHERE n.ls_id = m.ls_id))
ORDER BY m.member_id
