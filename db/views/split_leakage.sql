-- Grain: one violation of the split rules; empty when all is well.
-- Inputs: sampling.split_scheme, split_cell, split_assignment, close_pair, draw_member, guard_drop; results.manifest (file hashes).
-- Units: separation_arcsec in arcsec.
-- Excludes: pairs of which a guarded negative has left the manifest; draws that no scheme was assigned to.
CREATE OR REPLACE VIEW results.split_leakage AS
WITH
    cell_in_two_splits AS (
        SELECT c.scheme_id, c.healpix_128
        FROM sampling.split_cell AS c
        GROUP BY c.scheme_id, c.healpix_128
        HAVING count(*) > 1
    ),
    cell_against_rule AS (
        SELECT x.scheme_id, c.healpix_128, c.split
        FROM sampling.split_scheme AS x
        JOIN sampling.split_cell AS c ON c.scheme_id = x.scheme_id
        WHERE c.split <> sampling.split_of_cell(c.healpix_128, x.seed, x.train_below, x.val_below)
    ),
    member_without_cell AS (
        SELECT x.scheme_id, m.member_id, m.healpix_128
        FROM sampling.split_assignment AS x
        JOIN sampling.draw_member AS m ON m.draw_id = x.draw_id
        WHERE NOT EXISTS (
            SELECT 1 FROM sampling.split_cell AS c WHERE c.scheme_id = x.scheme_id AND c.healpix_128 = m.healpix_128
        )
    ),
    pair_across_splits AS (
        SELECT x.scheme_id, p.member_id, p.other_member_id, p.separation_arcsec
        FROM sampling.close_pair AS p
        JOIN sampling.draw_member AS a ON a.member_id = p.member_id
        JOIN sampling.draw_member AS b ON b.member_id = p.other_member_id
        JOIN sampling.split_assignment AS assigned ON assigned.draw_id = p.draw_id
        JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
        JOIN sampling.split_cell AS ca ON ca.scheme_id = x.scheme_id AND ca.healpix_128 = a.healpix_128
        JOIN sampling.split_cell AS cb ON cb.scheme_id = x.scheme_id AND cb.healpix_128 = b.healpix_128
        WHERE ca.split <> cb.split
            AND p.separation_arcsec <= x.guard_arcsec
            AND NOT EXISTS (
                SELECT 1 FROM sampling.guard_drop AS g
                WHERE g.scheme_id = x.scheme_id AND g.member_id IN (p.member_id, p.other_member_id)
            )
    ),
    pixels_in_two_splits AS (
        SELECT m.scheme_id, m.draw_id, m.sha256, min(m.member_id) AS member_id, max(m.member_id) AS other_member_id
        FROM results.manifest AS m
        GROUP BY m.scheme_id, m.draw_id, m.sha256
        HAVING count(DISTINCT m.split) > 1
    )
SELECT
    'cell in two splits'::text AS violation, v.scheme_id, v.healpix_128,
    NULL::bigint AS member_id, NULL::bigint AS other_member_id, NULL::double precision AS separation_arcsec
FROM cell_in_two_splits AS v
UNION ALL
SELECT 'cell against the rule', v.scheme_id, v.healpix_128, NULL, NULL, NULL FROM cell_against_rule AS v
UNION ALL
SELECT 'member without a cell', v.scheme_id, v.healpix_128, v.member_id, NULL, NULL FROM member_without_cell AS v
UNION ALL
SELECT 'pair across splits', v.scheme_id, NULL, v.member_id, v.other_member_id, v.separation_arcsec
FROM pair_across_splits AS v
UNION ALL
SELECT 'same pixels in two splits', v.scheme_id, NULL, v.member_id, v.other_member_id, NULL FROM pixels_in_two_splits AS v;
