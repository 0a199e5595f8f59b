-- What the strata of a mined draw hold.
UPDATE sampling.stratum AS s
SET n_drawn_n1 = c.n_n1, n_drawn_n2 = c.n_n2, n_drawn_mined = c.n_mined
FROM (
    SELECT
        o.stratum_id,
        count(*) FILTER (WHERE m.pool = 'N1') AS n_n1,
        count(*) FILTER (WHERE m.pool = 'N2' AND m.category <> 'mined') AS n_n2,
        count(*) FILTER (WHERE m.category = 'mined') AS n_mined
    FROM sampling.stratum AS o
    LEFT JOIN sampling.draw_member AS m ON m.stratum_id = o.stratum_id
    WHERE o.draw_id = :draw_id
    GROUP BY o.stratum_id
) AS c
WHERE s.stratum_id = c.stratum_id
