-- Grain: one draw.
-- Inputs: sampling.draw, draw_member, stratum, mining; training.model.
-- Units: counts of members; shortfall = target - drawn, summed over the strata (NULL where an imported draw has no target).
-- Excludes: nothing. is_frozen: a model uses the draw, and nothing of it can change any more.
CREATE OR REPLACE VIEW results.draws AS
WITH
    member AS (
        SELECT
            m.draw_id,
            count(*) FILTER (WHERE m.label = 1) AS n_positives,
            count(*) FILTER (WHERE m.label = 1 AND m.stratum_id IS NULL) AS n_positives_without_stratum,
            count(*) FILTER (WHERE m.pool = 'N1') AS n_n1,
            count(*) FILTER (WHERE m.pool = 'N2' AND m.category <> 'mined') AS n_n2,
            count(*) FILTER (WHERE m.category = 'mined') AS n_mined
        FROM sampling.draw_member AS m
        GROUP BY m.draw_id
    ),
    stratum AS (
        SELECT
            s.draw_id,
            sum(s.n_target_n1 - s.n_drawn_n1) AS shortfall_n1,
            sum(s.n_target_n2 - s.n_drawn_n2) AS shortfall_n2
        FROM sampling.stratum AS s
        GROUP BY s.draw_id
    ),
    model AS (
        SELECT m.draw_id, array_agg(m.name ORDER BY m.model_id) AS names FROM training.model AS m GROUP BY m.draw_id
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    d.data_release,
    d.seed,
    d.key_rule,
    coalesce(m.n_positives, 0) AS n_positives,
    coalesce(m.n_positives_without_stratum, 0) AS n_positives_without_stratum,
    coalesce(m.n_n1, 0) AS n_n1,
    coalesce(m.n_n2, 0) AS n_n2,
    coalesce(m.n_mined, 0) AS n_mined,
    s.shortfall_n1,
    s.shortfall_n2,
    mo.names IS NOT NULL AS is_frozen,
    coalesce(mo.names, '{}') AS models,
    base.name AS base_draw_name,
    miner.name AS mined_with_model,
    mi.n_near_lens,
    d.n_lenses_known,
    d.n_galaxies,
    d.created_at
FROM sampling.draw AS d
LEFT JOIN member AS m ON m.draw_id = d.draw_id
LEFT JOIN stratum AS s ON s.draw_id = d.draw_id
LEFT JOIN model AS mo ON mo.draw_id = d.draw_id
LEFT JOIN sampling.mining AS mi ON mi.draw_id = d.draw_id
LEFT JOIN sampling.draw AS base ON base.draw_id = mi.base_draw_id
LEFT JOIN training.model AS miner ON miner.model_id = mi.model_id;
