-- Grain: one kind of hard confuser (pool N2) in one stratum of one draw; kinds without members are not there.
-- Inputs: sampling.draw, stratum, draw_member.
-- Units: counts; fraction is that of the stratum's N2.
-- Excludes: N1 and positives. The target is one for all kinds of a stratum (results.strata): a kind has no shortfall.
CREATE OR REPLACE VIEW results.confusers AS
WITH
    counted AS (
        SELECT m.stratum_id, m.category, count(*) AS n_drawn
        FROM sampling.draw_member AS m
        WHERE m.pool = 'N2'
        GROUP BY m.stratum_id, m.category
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    c.category,
    c.n_drawn,
    c.n_drawn / sum(c.n_drawn) OVER (PARTITION BY s.stratum_id) AS fraction
FROM counted AS c
JOIN sampling.stratum AS s ON s.stratum_id = c.stratum_id
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
