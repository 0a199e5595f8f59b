-- Rank the eligible galaxies of each stratum by key; take N2 from the confusers, then N1 from all others that are not EXP.
-- Persist what was eligible and drawn, and each member with its inclusion probability.
WITH
    target AS (
        SELECT s.stratum_id, s.nobs_z_bin, s.type, s.n_target_n1, s.n_target_n2
        FROM sampling.stratum AS s
        WHERE s.draw_id = :draw_id
    ),
    ranked_n2 AS (
        SELECT
            e.ls_id, t.stratum_id, t.n_target_n2,
            row_number() OVER (PARTITION BY t.stratum_id ORDER BY e.key_n2, e.ls_id) AS place,
            count(*) OVER (PARTITION BY t.stratum_id) AS n_eligible
        FROM draw_eligible AS e
        JOIN target AS t ON t.nobs_z_bin = e.nobs_z_bin AND t.type = e.type
        WHERE e.category IS NOT NULL
    ),
    n2 AS (
        SELECT r.ls_id, r.stratum_id FROM ranked_n2 AS r WHERE r.place <= r.n_target_n2
    ),
    ranked_n1 AS (
        SELECT
            e.ls_id, t.stratum_id, t.n_target_n1,
            row_number() OVER (PARTITION BY t.stratum_id ORDER BY e.key_n1, e.ls_id) AS place,
            count(*) OVER (PARTITION BY t.stratum_id) AS n_eligible
        FROM draw_eligible AS e
        JOIN target AS t ON t.nobs_z_bin = e.nobs_z_bin AND t.type = e.type
        WHERE NOT e.is_exp AND NOT EXISTS (SELECT 1 FROM n2 WHERE n2.ls_id = e.ls_id)
    ),
    n1 AS (
        SELECT r.ls_id, r.stratum_id FROM ranked_n1 AS r WHERE r.place <= r.n_target_n1
    ),
    counted AS (
        SELECT
            t.stratum_id,
            coalesce((SELECT max(r.n_eligible) FROM ranked_n1 AS r WHERE r.stratum_id = t.stratum_id), 0) AS n_eligible_n1,
            coalesce((SELECT max(r.n_eligible) FROM ranked_n2 AS r WHERE r.stratum_id = t.stratum_id), 0) AS n_eligible_n2,
            (SELECT count(*) FROM n1 WHERE n1.stratum_id = t.stratum_id) AS n_drawn_n1,
            (SELECT count(*) FROM n2 WHERE n2.stratum_id = t.stratum_id) AS n_drawn_n2
        FROM target AS t
    ),
    persisted AS (
        UPDATE sampling.stratum AS s
        SET
            n_eligible_n1 = c.n_eligible_n1, n_eligible_n2 = c.n_eligible_n2,
            n_drawn_n1 = c.n_drawn_n1, n_drawn_n2 = c.n_drawn_n2
        FROM counted AS c
        WHERE s.stratum_id = c.stratum_id
        RETURNING s.stratum_id
    ),
    drawn AS (
        SELECT n1.ls_id, n1.stratum_id, 'N1' AS pool FROM n1
        UNION ALL
        SELECT n2.ls_id, n2.stratum_id, 'N2' AS pool FROM n2
    ),
    rated AS (
        SELECT
            d.ls_id, d.stratum_id, d.pool, e.category, e.ra, e.dec, e.healpix_128,
            CASE WHEN e.category IS NULL THEN 0 ELSE c.n_drawn_n2::double precision / c.n_eligible_n2 END AS p_n2,
            CASE WHEN e.is_exp OR c.n_eligible_n1 = 0 THEN 0
                ELSE c.n_drawn_n1::double precision / c.n_eligible_n1 END AS p_n1
        FROM drawn AS d
        JOIN draw_eligible AS e ON e.ls_id = d.ls_id
        JOIN counted AS c ON c.stratum_id = d.stratum_id
        JOIN persisted AS p ON p.stratum_id = d.stratum_id
    )
INSERT INTO sampling.draw_member
    (draw_id, label, pool, ls_id, stratum_id, category, inclusion_probability, weight, ra, dec, healpix_128)
SELECT
    :draw_id, 0, r.pool, r.ls_id, r.stratum_id, CASE WHEN r.pool = 'N2' THEN r.category END,
    least(r.p_n2 + (1 - r.p_n2) * r.p_n1, 1), :negative_weight, r.ra, r.dec, r.healpix_128
FROM rated AS r
ORDER BY r.ls_id
