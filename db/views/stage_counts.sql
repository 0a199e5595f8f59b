-- Grain: one count of one stage, in the order of the pipeline, per survey where the rows have one.
-- Inputs: the tables of every stage; galaxies are counted by their load ledger, never by scanning the pool.
-- Units: rows; drawn and left out: objects, counted once however many draws or schemes they are in.
-- Excludes: what the folds of a cross-validation leave out.
CREATE OR REPLACE VIEW results.stage_counts AS
SELECT 1 AS position, 'catalog rows'::text AS stage, NULL::text AS survey, count(*) AS n FROM catalog.lens_source
UNION ALL
SELECT 2, 'known lenses and cluster cores', NULL, count(*) FROM catalog.lens
UNION ALL
SELECT 3, 'positives, tier ' || l.tier, NULL, count(*) FROM catalog.lens AS l WHERE l.tier IS NOT NULL GROUP BY l.tier
UNION ALL
SELECT 4, 'sweep files loaded', f.survey, count(*) FROM catalog.sweep_file AS f WHERE f.status = 'loaded' GROUP BY f.survey
UNION ALL
SELECT 5, 'pool galaxies', f.survey, sum(f.n_kept)::bigint
FROM catalog.sweep_file AS f WHERE f.status = 'loaded' GROUP BY f.survey
UNION ALL
SELECT 6, 'positives matched, tier ' || l.tier, m.survey, count(*)
FROM catalog.lens_match AS m JOIN catalog.lens AS l ON l.lens_id = m.lens_id
WHERE l.tier IS NOT NULL GROUP BY l.tier, m.survey
UNION ALL
SELECT 7, 'galaxies near a known lens', NULL, count(DISTINCT n.ls_id) FROM catalog.lens_neighbour AS n
UNION ALL
SELECT 8, 'drawn, ' || m.pool, d.survey, count(DISTINCT CASE WHEN m.label = 1 THEN m.lens_id ELSE m.ls_id END)
FROM sampling.draw_member AS m JOIN sampling.draw AS d ON d.draw_id = m.draw_id GROUP BY m.pool, d.survey
UNION ALL
SELECT 9, 'left out by the split guard', d.survey, count(DISTINCT m.ls_id)
FROM sampling.guard_drop AS g
JOIN sampling.split_scheme AS x ON x.scheme_id = g.scheme_id AND x.kind = 'hash'
JOIN sampling.draw_member AS m ON m.member_id = g.member_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
GROUP BY d.survey
UNION ALL
SELECT 10, 'cutouts ' || c.status, c.survey, count(*) FROM imaging.cutout AS c GROUP BY c.status, c.survey
UNION ALL
SELECT 11, 'models ' || m.status, m.survey, count(*) FROM training.model AS m GROUP BY m.status, m.survey
UNION ALL
SELECT 12, 'scores', m.survey, count(*)
FROM training.score AS s JOIN training.model AS m ON m.model_id = s.model_id GROUP BY m.survey;
