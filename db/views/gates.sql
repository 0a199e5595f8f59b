-- Grain: one rule of the last validation of one draw's cutouts (and cutout version).
-- Inputs: imaging.gate, validation; sampling.draw.
-- Units: value and limit_value as the rule says.
-- Excludes: nothing. is_go: the verdict of the draw, NULL where it was judged before verdicts were kept.
CREATE OR REPLACE VIEW results.gates AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    g.version,
    g.rule,
    g.value,
    g.limit_value,
    g.is_passed,
    g.detail,
    v.is_go,
    v.n_cutouts,
    v.n_quarantined,
    v.validated_at
FROM imaging.gate AS g
JOIN sampling.draw AS d ON d.draw_id = g.draw_id
LEFT JOIN imaging.validation AS v ON v.draw_id = g.draw_id AND v.version = g.version;
