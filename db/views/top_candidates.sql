-- Grain: one scored cutout of one model, ranked within the model by score (ties by cutout).
-- Inputs: training.score (through its index), training.model; imaging.cutout, quarantine; sampling.draw_member, split_cell;
--   catalog.lens_neighbour, lens.
-- Units: ra, dec in degrees; separations in arcsec. known_lens_*: the nearest known lens or cluster core within 11 arcsec of
--   a negative, or the positive itself; NULL: no known lens there, as far as `stronglens match` has been run.
-- Excludes: quarantined cutouts. Ask for one model and `rank <= K`: the ranking then stops after K rows.
CREATE OR REPLACE VIEW results.top_candidates AS
WITH
    ranked AS (
        SELECT
            s.model_id, s.cutout_id, s.score,
            row_number() OVER (PARTITION BY s.model_id ORDER BY s.score DESC, s.cutout_id) AS rank
        FROM training.score AS s
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    r.rank,
    r.score,
    r.cutout_id,
    c.ra,
    c.dec,
    c.uri,
    c.lens_id,
    c.ls_id,
    cell.split,
    CASE WHEN c.lens_id IS NOT NULL THEN l.tier END AS tier,
    dm.pool,
    dm.category,
    coalesce(l.name, known.name) AS known_lens_name,
    CASE WHEN c.lens_id IS NOT NULL THEN 0 ELSE known.separation_arcsec END AS known_lens_separation_arcsec
FROM ranked AS r
JOIN training.model AS mo ON mo.model_id = r.model_id
JOIN imaging.cutout AS c ON c.cutout_id = r.cutout_id
LEFT JOIN catalog.lens AS l ON l.lens_id = c.lens_id
LEFT JOIN LATERAL (
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.lens_id = c.lens_id AND m.label = 1
    UNION ALL
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.ls_id = c.ls_id AND m.label = 0
) AS dm ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
