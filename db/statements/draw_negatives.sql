-- Rank the candidates of each stratum by key; take N2 from the confusers, then N1 from all others that are not EXP.
-- Persist what was eligible and drawn, and each member with its inclusion probability.
WITH
    cell AS (
        SELECT c.cell, c.stratum_id, c.is_exp, c.category
        FROM
            json_to_recordset(CAST(:cells AS json))
            AS c (cell integer, stratum_id integer, is_exp boolean, category text)
    ),
    target AS (
        SELECT s.stratum_id, s.n_target_n1, s.n_target_n2
        FROM sampling.stratum AS s
        WHERE s.draw_id = :draw_id
    ),
    eligible AS (
        SELECT
            c.stratum_id,
            coalesce(sum(p.n_galaxies) FILTER (WHERE NOT c.is_exp), 0) AS n_not_exp,
            coalesce(sum(p.n_galaxies) FILTER (WHERE c.category IS NOT NULL), 0) AS n_confusers
        FROM draw_pass AS p
        JOIN cell AS c ON c.cell = p.cell
        GROUP BY c.stratum_id
    ),
    candidate AS (
        SELECT
            p.ls_id, c.stratum_id, c.is_exp, c.category, p.ra, p.dec, p.healpix_128,
            CASE
                WHEN c.category IS NOT NULL THEN row_number() OVER (
                    PARTITION BY c.stratum_id, c.category IS NULL ORDER BY sampling.draw_key(p.ls_id, :salt_n2), p.ls_id
                )
            END AS place_n2
        FROM draw_pass AS p
        JOIN cell AS c ON c.cell = p.cell
        WHERE p.ls_id IS NOT NULL
    ),
    parted AS (
        SELECT
            c.ls_id, c.stratum_id, c.is_exp, c.category, c.ra, c.dec, c.healpix_128, t.n_target_n1,
            coalesce(c.place_n2 <= t.n_target_n2, false) AS is_n2
        FROM candidate AS c
        JOIN target AS t ON t.stratum_id = c.stratum_id
    ),
    ranked AS (
        SELECT
            r.ls_id, r.stratum_id, r.is_exp, r.category, r.ra, r.dec, r.healpix_128, r.n_target_n1, r.is_n2,
            row_number() OVER (
                PARTITION BY r.stratum_id, r.is_n2 OR r.is_exp ORDER BY sampling.draw_key(r.ls_id, :salt_n1), r.ls_id
            ) AS place_n1
        FROM parted AS r
    ),
    drawn AS (
        SELECT r.ls_id, r.stratum_id, r.is_exp, r.category, r.ra, r.dec, r.healpix_128, r.is_n2
        FROM ranked AS r
        WHERE r.is_n2 OR (NOT r.is_exp AND r.place_n1 <= r.n_target_n1)
    ),
    taken AS (
        SELECT
            d.stratum_id,
            count(*) FILTER (WHERE d.is_n2) AS n_n2,
            count(*) FILTER (WHERE d.is_n2 AND NOT d.is_exp) AS n_n2_not_exp,
            count(*) FILTER (WHERE NOT d.is_n2) AS n_n1
        FROM drawn AS d
        GROUP BY d.stratum_id
    ),
    counted AS (
        SELECT
            e.stratum_id,
            e.n_not_exp - coalesce(k.n_n2_not_exp, 0) AS n_eligible_n1,
            e.n_confusers AS n_eligible_n2,
            coalesce(k.n_n1, 0) AS n_drawn_n1,
            coalesce(k.n_n2, 0) AS n_drawn_n2
        FROM eligible AS e
        LEFT JOIN taken AS k ON k.stratum_id = e.stratum_id
    ),
    persisted AS (
        UPDATE sampling.stratum AS s
        SET
            n_eligible_n1 = c.n_eligible_n1, n_eligible_n2 = c.n_eligible_n2,
            n_drawn_n1 = c.n_drawn_n1, n_drawn_n2 = c.n_drawn_n2
        FROM counted AS c
        WHERE s.stratum_id = c.stratum_id
    ),
    rated AS (
        SELECT
            d.ls_id, d.stratum_id, d.is_n2, d.category, d.ra, d.dec, d.healpix_128,
            CASE WHEN d.category IS NULL THEN 0 ELSE c.n_drawn_n2::double precision / c.n_eligible_n2 END AS p_n2,
            CASE WHEN d.is_exp OR c.n_eligible_n1 = 0 THEN 0
                ELSE c.n_drawn_n1::double precision / c.n_eligible_n1 END AS p_n1
        FROM drawn AS d
        JOIN counted AS c ON c.stratum_id = d.stratum_id
    )
INSERT INTO sampling.draw_member
    (draw_id, label, pool, ls_id, stratum_id, category, inclusion_probability, weight, ra, dec, healpix_128)
SELECT
    :draw_id, 0, CASE WHEN r.is_n2 THEN 'N2' ELSE 'N1' END, r.ls_id, r.stratum_id, CASE WHEN r.is_n2 THEN r.category END,
    least(r.p_n2 + (1 - r.p_n2) * r.p_n1, 1), :negative_weight, r.ra, r.dec, r.healpix_128
FROM rated AS r
ORDER BY r.ls_id
