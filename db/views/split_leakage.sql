-- Grain: one violation of the split rules; empty when all is well.
-- Inputs: sampling.split_scheme, split_cell, split_assignment, close_pair, draw_member, guard_drop; results.manifest (file hashes).
-- Units: separation_arcsec in arcsec.
-- Excludes: pairs of which a guarded member has left the manifest; draws that no scheme was assigned to.
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
        WHERE x.kind = 'hash' AND c.split <> sampling.split_of_cell(c.healpix_128, x.seed, x.train_below, x.val_below)
    ),
    coarse_cell AS MATERIALIZED (
        SELECT
            x.scheme_id,
            k.coarse,
            sampling.split_of_fold(k.coarse, x.seed, x.n_folds, x.fold, x.train_below) AS split,
            sampling.is_calibration_cell(k.coarse, x.seed) AS is_calibration
        FROM sampling.split_scheme AS x
        CROSS JOIN LATERAL generate_series(0, 12 * x.fold_nside * x.fold_nside - 1) AS k (coarse)
        WHERE x.kind = 'fold'
    ),
    fold_cell AS (
        SELECT
            c.scheme_id,
            c.healpix_128,
            c.split,
            c.is_calibration,
            c.healpix_128 / ((x.nside / x.fold_nside) * (x.nside / x.fold_nside)) AS coarse
        FROM sampling.split_scheme AS x
        JOIN sampling.split_cell AS c ON c.scheme_id = x.scheme_id
        WHERE x.kind = 'fold'
    ),
    cell_against_fold AS (
        SELECT c.scheme_id, c.healpix_128
        FROM fold_cell AS c
        JOIN coarse_cell AS k ON k.scheme_id = c.scheme_id AND k.coarse = c.coarse
        WHERE c.split <> k.split
    ),
    calibration_against_rule AS (
        SELECT x.scheme_id, c.healpix_128
        FROM sampling.split_scheme AS x
        JOIN sampling.split_cell AS c ON c.scheme_id = x.scheme_id
        WHERE x.kind = 'hash'
            AND c.split = 'val'
            AND c.is_calibration <> sampling.is_calibration_cell(c.healpix_128, x.seed)
        UNION ALL
        SELECT c.scheme_id, c.healpix_128
        FROM fold_cell AS c
        JOIN coarse_cell AS k ON k.scheme_id = c.scheme_id AND k.coarse = c.coarse
        WHERE c.split = 'val' AND c.is_calibration <> k.is_calibration
    ),
    test_sky_in_fold AS (
        SELECT x.scheme_id, m.member_id, m.healpix_128
        FROM sampling.split_scheme AS x
        JOIN sampling.split_assignment AS assigned ON assigned.scheme_id = x.scheme_id
        JOIN sampling.draw_member AS m ON m.draw_id = assigned.draw_id
        JOIN sampling.split_cell AS base ON base.scheme_id = x.base_scheme_id AND base.healpix_128 = m.healpix_128
        WHERE x.kind = 'fold'
            AND base.split = 'test'
            AND NOT EXISTS (
                SELECT 1 FROM sampling.guard_drop AS g WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id
            )
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
SELECT 'cell against the rule', v.scheme_id, v.healpix_128, NULL, NULL, NULL FROM cell_against_fold AS v
UNION ALL
SELECT 'calibration against the rule', v.scheme_id, v.healpix_128, NULL, NULL, NULL FROM calibration_against_rule AS v
UNION ALL
SELECT 'test sky in a fold', v.scheme_id, v.healpix_128, v.member_id, NULL, NULL FROM test_sky_in_fold AS v
UNION ALL
SELECT 'member without a cell', v.scheme_id, v.healpix_128, v.member_id, NULL, NULL FROM member_without_cell AS v
UNION ALL
SELECT 'pair across splits', v.scheme_id, NULL, v.member_id, v.other_member_id, v.separation_arcsec
FROM pair_across_splits AS v
UNION ALL
SELECT 'same pixels in two splits', v.scheme_id, NULL, v.member_id, v.other_member_id, NULL FROM pixels_in_two_splits AS v;
