-- Grain: one stratum of one draw.
-- Inputs: sampling.draw, sampling.stratum.
-- Units: counts. shortfall = target - drawn, never topped up from elsewhere; mined negatives are beside it.
-- Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).
CREATE OR REPLACE VIEW results.strata AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    s.n_positives,
    s.n_eligible_n1,
    s.n_eligible_n2,
    s.n_target_n1,
    s.n_target_n2,
    s.n_drawn_n1,
    s.n_drawn_n2,
    s.n_target_n1 - s.n_drawn_n1 AS shortfall_n1,
    s.n_target_n2 - s.n_drawn_n2 AS shortfall_n2,
    s.n_drawn_mined
FROM sampling.stratum AS s
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
