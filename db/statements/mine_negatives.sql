-- The galaxies that a model takes for lenses most, each in its stratum: no members yet, away from every known lens, in
-- the training part of the sky (val and test must stay what they are). EXP galaxies stand in the stratum of their nobs
-- bin that their key falls into, as in a draw. Mined negatives are no sample of the survey: they have no probability.
INSERT INTO sampling.draw_member
    (draw_id, label, pool, ls_id, stratum_id, category, weight, ra, dec, healpix_128)
WITH
    scored AS (
        SELECT c.ls_id, max(s.score) AS score
        FROM training.score AS s
        JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
        WHERE
            s.model_id = :model_id
            AND c.ls_id IS NOT NULL
            AND c.version = :cutout_version
            AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
            AND NOT EXISTS (SELECT FROM sampling.draw_member AS m WHERE m.draw_id = :base_draw_id AND m.ls_id = c.ls_id)
            AND NOT EXISTS (SELECT FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id)
        GROUP BY c.ls_id
    ),
    exp_stratum AS (
        SELECT e.stratum_id, e.nobs_z_bin, e.exp_from, e.exp_to
        FROM
            json_to_recordset(CAST(:exp_strata AS json))
            AS e (stratum_id integer, nobs_z_bin text, exp_from bigint, exp_to bigint)
    )
SELECT
    :draw_id, 0, 'N2', g.ls_id, coalesce(own.stratum_id, e.stratum_id), 'mined', :negative_weight, g.ra, g.dec,
    g.healpix_128
FROM scored AS s
JOIN catalog.galaxy AS g ON g.ls_id = s.ls_id
JOIN sampling.split_cell AS cell
    ON cell.scheme_id = :scheme_id AND cell.healpix_128 = g.healpix_128 AND cell.split = 'train'
LEFT JOIN sampling.stratum AS own
    ON own.draw_id = :draw_id AND own.nobs_z_bin = sampling.nobs_z_bin(g.nobs_z) AND own.type = g.type
LEFT JOIN exp_stratum AS e
    ON g.type = 'EXP'
    AND e.nobs_z_bin = sampling.nobs_z_bin(g.nobs_z)
    AND sampling.draw_key(g.ls_id, :salt_exp) BETWEEN e.exp_from AND e.exp_to
WHERE coalesce(own.stratum_id, e.stratum_id) IS NOT NULL
ORDER BY s.score DESC, g.ls_id
LIMIT :n_wanted
