"""Spatial-holdout folds: split schemes that hold one part of the sky out, and cross-validations over them.

From: revision 0023
To: revision 0024
Why: the spread of a model over the sky beside its binomial error. A fold is a split scheme, so that guard, manifest,
    training, scores and evaluation work as they do; its rule is checked by functions of its own. The guard of a fold leaves
    out what is near the held-out sky, positives too, and a fold uses nothing of the test sky of the scheme it is based on.
Cost on 114 M galaxies: none; a constraint of split_scheme is checked on a few rows, guard_drop is rewritten nowhere. On the
    way down fold schemes are lost; it is refused while models stand on them
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

FOLD_OF_CELL = """-- Fold of a coarse HEALPix cell by rule: floor(u n_folds), where u is the first 4 bytes, big-endian, of
-- SHA-256('<cell>_<seed>_fold') / 2^32. Only the leak check uses it: folds are assigned once, in Python.
CREATE OR REPLACE FUNCTION sampling.fold_of_cell(coarse integer, seed integer, n_folds integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    (
        ('x' || left(encode(sha256(convert_to(coarse::text || '_' || seed::text || '_fold', 'UTF8')), 'hex'), 8))
            ::bit(32)::bigint & 4294967295
    ) * n_folds / 4294967296
)::integer;
"""

SPLIT_OF_FOLD = """-- Split of a coarse HEALPix cell when one fold is held out, by rule: test in that fold; elsewhere train where u < train_below,
-- else val, where u is the first 4 bytes, big-endian, of SHA-256('<cell>_<seed>_val_<fold>') / 2^32.
-- Only the leak check uses it: assignment is done once, in Python, and this is the independent second opinion.
CREATE OR REPLACE FUNCTION sampling.split_of_fold(
    coarse integer, seed integer, n_folds integer, fold integer, train_below double precision
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN sampling.fold_of_cell(coarse, seed, n_folds) = fold THEN 'test'
    WHEN (
        (
            'x' || left(
                encode(sha256(convert_to(coarse::text || '_' || seed::text || '_val_' || fold::text, 'UTF8')), 'hex'), 8
            )
        )::bit(32)::bigint & 4294967295
    ) / 4294967296.0::double precision < train_below THEN 'train'
    ELSE 'val'
END;
"""

SPLIT_LEAKAGE = """-- Grain: one violation of the split rules; empty when all is well.
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
"""

OLD_SPLIT_LEAKAGE = """-- Grain: one violation of the split rules; empty when all is well.
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
"""

CROSS_VALIDATION_FOLDS = """-- Grain: one fold of one cross-validation, at one operating point of the model that was trained without it.
-- Inputs: evaluation.fold, cross_validation; sampling.split_assignment, split_scheme; results.threshold_table, model_metrics
--   (split test: the fold held out).
-- Units: rates k / n with Wilson 95 % intervals; AUC with a bootstrap by sky cell; guard_arcsec in arcsec.
-- Excludes: folds that were not evaluated yet.
CREATE OR REPLACE VIEW results.cross_validation_folds AS
SELECT
    cv.cross_validation_id,
    cv.name AS cross_validation_name,
    t.survey,
    cv.n_folds,
    cv.fold_nside,
    cv.guard_arcsec,
    base.name AS base_scheme_name,
    f.fold,
    f.model_id,
    t.model_name,
    f.n_train,
    f.n_test,
    f.n_positives,
    assigned.n_guard_drops,
    assigned.n_test_sky_drops,
    a.value AS auc,
    a.lo AS auc_lo,
    a.hi AS auc_hi,
    t.fpr_target,
    t.threshold,
    t.is_threshold_uncertain,
    t.n_false_positives,
    t.n_negatives,
    t.fpr,
    t.fpr_lo,
    t.fpr_hi,
    t.n_recovered_tier_a,
    t.n_tier_a,
    t.recall_tier_a,
    t.recall_tier_a_lo,
    t.recall_tier_a_hi,
    t.n_recovered_tier_b,
    t.n_tier_b,
    t.recall_tier_b,
    t.recall_tier_b_lo,
    t.recall_tier_b_hi,
    t.n_test_accesses
FROM evaluation.fold AS f
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = f.cross_validation_id
JOIN sampling.split_scheme AS base ON base.scheme_id = cv.base_scheme_id
JOIN sampling.split_assignment AS assigned ON assigned.scheme_id = f.scheme_id AND assigned.draw_id = cv.draw_id
JOIN results.threshold_table AS t ON t.model_id = f.model_id AND t.split = 'test'
LEFT JOIN results.model_metrics AS a ON a.model_id = f.model_id AND a.split = 'test' AND a.metric = 'auc';
"""

CROSS_VALIDATION = """-- Grain: one quantity of one cross-validation over its folds: auc, or a rate at one operating point.
-- Inputs: results.cross_validation_folds; evaluation.interval (Wilson, 95 %).
-- Units: mean, sd and range are over the folds counted. k of n are pooled over all folds, with their rate and interval.
--   sd_binomial: what sd_over_folds would be if folds differed by counting alone, sqrt of the mean of p (1 - p) / n.
--   n_test_accesses: readings of the folds held out, over all folds.
-- Excludes: a fold's rate where its n < 10 (its k and n still pool); the pooled rate where n < 10.
CREATE OR REPLACE VIEW results.cross_validation AS
WITH
    point AS (
        SELECT DISTINCT f.cross_validation_id, f.fold, f.auc, f.n_test_accesses FROM results.cross_validation_folds AS f
    ),
    accesses AS (
        SELECT p.cross_validation_id, sum(p.n_test_accesses)::bigint AS n_test_accesses
        FROM point AS p
        GROUP BY p.cross_validation_id
    ),
    rate AS (
        SELECT f.cross_validation_id, f.fpr_target, q.quantity, q.k, q.n
        FROM results.cross_validation_folds AS f
        CROSS JOIN LATERAL (
            VALUES
                ('recall_tier_a', f.n_recovered_tier_a, f.n_tier_a),
                ('recall_tier_b', f.n_recovered_tier_b, f.n_tier_b),
                ('fpr', f.n_false_positives, f.n_negatives)
        ) AS q (quantity, k, n)
    ),
    pooled AS (
        SELECT r.cross_validation_id, r.quantity, r.fpr_target, sum(r.k)::integer AS k, sum(r.n)::integer AS n
        FROM rate AS r
        GROUP BY r.cross_validation_id, r.quantity, r.fpr_target
    ),
    spread AS (
        SELECT
            r.cross_validation_id,
            r.quantity,
            r.fpr_target,
            count(*)::integer AS n_folds_counted,
            avg(r.k::double precision / r.n) AS mean,
            stddev_samp(r.k::double precision / r.n) AS sd_over_folds,
            min(r.k::double precision / r.n) AS lowest,
            max(r.k::double precision / r.n) AS highest,
            avg(1.0::double precision / r.n) AS mean_of_inverse_n
        FROM rate AS r
        WHERE r.n >= 10
        GROUP BY r.cross_validation_id, r.quantity, r.fpr_target
    )
SELECT
    cv.cross_validation_id,
    cv.name AS cross_validation_name,
    cv.n_folds,
    'auc'::text AS quantity,
    NULL::double precision AS fpr_target,
    count(p.auc)::integer AS n_folds_counted,
    avg(p.auc) AS mean,
    stddev_samp(p.auc) AS sd_over_folds,
    min(p.auc) AS lowest,
    max(p.auc) AS highest,
    NULL::integer AS k,
    NULL::integer AS n,
    NULL::double precision AS pooled,
    NULL::double precision AS pooled_lo,
    NULL::double precision AS pooled_hi,
    NULL::text AS interval_method,
    NULL::double precision AS sd_binomial,
    sum(p.n_test_accesses)::bigint AS n_test_accesses
FROM point AS p
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = p.cross_validation_id
GROUP BY cv.cross_validation_id, cv.name, cv.n_folds
UNION ALL
SELECT
    cv.cross_validation_id,
    cv.name,
    cv.n_folds,
    a.quantity,
    a.fpr_target,
    coalesce(s.n_folds_counted, 0),
    s.mean,
    s.sd_over_folds,
    s.lowest,
    s.highest,
    a.k,
    a.n,
    CASE WHEN a.n >= 10 THEN a.k::double precision / a.n END,
    CASE WHEN a.n >= 10 THEN i.lo END,
    CASE WHEN a.n >= 10 THEN i.hi END,
    CASE WHEN a.n >= 10 THEN i.method END,
    CASE WHEN a.n >= 10
        THEN sqrt(a.k::double precision / a.n * (1 - a.k::double precision / a.n) * s.mean_of_inverse_n)
    END,
    t.n_test_accesses
FROM pooled AS a
JOIN evaluation.cross_validation AS cv ON cv.cross_validation_id = a.cross_validation_id
JOIN accesses AS t ON t.cross_validation_id = a.cross_validation_id
LEFT JOIN spread AS s
    ON s.cross_validation_id = a.cross_validation_id AND s.quantity = a.quantity AND s.fpr_target = a.fpr_target
LEFT JOIN evaluation.interval AS i ON i.k = a.k AND i.n = a.n AND i.method = 'wilson' AND i.level = 0.95;
"""

STAGE_COUNTS = """-- Grain: one count of one stage, in the order of the pipeline, per survey where the rows have one.
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
"""

OLD_STAGE_COUNTS = """-- Grain: one count of one stage, in the order of the pipeline, per survey where the rows have one.
-- Inputs: the tables of every stage; galaxies are counted by their load ledger, never by scanning the pool.
-- Units: rows; drawn and left out: objects, counted once however many draws or schemes they are in.
-- Excludes: nothing.
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
"""


COMMENTS = {
    "TABLE sampling.split_scheme": (
        "One rule that splits the sky: u = first 4 bytes of SHA-256(cell_seed) / 2^32; train u < train_below, val u < val_below, else test.",
        "One rule that splits the sky. Kind hash: u = first 4 bytes of SHA-256(cell_seed) / 2^32; train u < train_below, val u < val_below, else test. Kind fold: one fold of a spatial cross-validation; the coarse cells of the fold are test, the others train or val by a hash of their own.",
    ),
    "COLUMN sampling.split_scheme.train_below": ("Upper bound of u for train (0.70)", "Upper bound of u for train (0.70; folds 0.85)"),
    "COLUMN sampling.split_scheme.val_below": (
        "Upper bound of u for val (0.85); the rest is test",
        "Upper bound of u for val (0.85; folds 1); the rest is test",
    ),
    "COLUMN sampling.split_scheme.guard_arcsec": (
        "A negative this near to a member of another split leaves the manifest, arcsec",
        "A negative this near to a member of another split leaves the manifest, arcsec; of a fold scheme, any member of train or val this near to the held-out fold, and of train to val",
    ),
    "TABLE sampling.guard_drop": (
        "A negative within the guard distance of a member of another split: out of the scheme's manifest.",
        "A member out of the scheme's manifest: within the guard distance of a member of another split (of a hash scheme only negatives, of a fold scheme whatever is not held out), or, of a fold scheme, in the test sky of its base scheme.",
    ),
    "COLUMN sampling.guard_drop.member_id": ("The negative left out", "The member left out"),
    "COLUMN sampling.guard_drop.nearest_member_id": (
        "The nearest member of another split",
        "The nearest member of another split; NULL unless the reason is guard",
    ),
    "COLUMN sampling.guard_drop.separation_arcsec": (
        "Distance to it, arcsec",
        "Distance to it, arcsec; NULL unless the reason is guard",
    ),
    "COLUMN sampling.split_assignment.n_guard_drops": (
        "Negatives left out of the manifest",
        "Members that the guard left out of the manifest",
    ),
}
"""Comments before and after."""

CHECKS = {
    "kind_known": "kind IN ('hash', 'fold')",
    "folds_say_of_what": "(kind = 'fold') = (fold IS NOT NULL) AND (fold IS NULL) = (n_folds IS NULL) "
    "AND (fold IS NULL) = (fold_nside IS NULL) AND (fold IS NULL) = (base_scheme_id IS NULL)",
    "fold_range": "fold >= 0 AND fold < n_folds",
    "fold_nside_holds_cells": "fold_nside IN (1, 2, 4, 8, 16, 32, 64)",
}

HELD_BY_MODELS = """DO $$
DECLARE
    held text;
BEGIN
    SELECT m.name INTO held
    FROM training.model AS m JOIN sampling.split_scheme AS x ON x.scheme_id = m.scheme_id
    WHERE x.kind = 'fold' ORDER BY m.model_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'model % was trained on a fold, which revision 0023 does not know: delete the models of '
            'cross-validations first', held;
    END IF;
END
$$;
"""


def upgrade() -> None:
    for column in (
        sa.Column("kind", sa.Text(), server_default=sa.text("'hash'"), nullable=False, comment="hash, or fold: one fold of a cross-validation"),
        sa.Column("base_scheme_id", sa.Integer(), nullable=True, comment="The scheme whose test sky no fold uses; NULL unless a fold"),
        sa.Column("fold_nside", sa.Integer(), nullable=True, comment="HEALPix nside (NESTED) of the coarse cells that folds are made of (8); NULL unless a fold"),
        sa.Column("n_folds", sa.Integer(), nullable=True, comment="Folds of the cross-validation; NULL unless a fold"),
        sa.Column("fold", sa.Integer(), nullable=True, comment="Number of the fold held out, from 0; NULL unless a fold"),
    ):
        op.add_column("split_scheme", column, schema="sampling")
    op.create_foreign_key(
        op.f("fk_split_scheme_base_scheme_id_split_scheme"), "split_scheme", "split_scheme", ["base_scheme_id"], ["scheme_id"],
        source_schema="sampling", referent_schema="sampling", ondelete="CASCADE",
    )
    op.create_index(op.f("ix_split_scheme_base_scheme_id"), "split_scheme", ["base_scheme_id"], schema="sampling")
    for name, rule in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_split_scheme_{name}"), "split_scheme", rule, schema="sampling")
    _fractions("train_below > 0 AND train_below < val_below AND (val_below < 1 OR (kind = 'fold' AND val_below = 1))")
    for name in ("nearest_member_id", "separation_arcsec"):
        op.alter_column("guard_drop", name, nullable=True, schema="sampling")
    op.add_column(
        "guard_drop",
        sa.Column("reason", sa.Text(), server_default=sa.text("'guard'"), nullable=False, comment="guard; test_sky: its cell belongs to the locked test split of a fold scheme's base"),
        schema="sampling",
    )
    op.create_check_constraint(op.f("ck_guard_drop_reason_known"), "guard_drop", "reason IN ('guard', 'test_sky')", schema="sampling")
    op.create_check_constraint(
        op.f("ck_guard_drop_guard_names_whom"),
        "guard_drop",
        "(reason = 'guard') = (nearest_member_id IS NOT NULL) AND (nearest_member_id IS NULL) = (separation_arcsec IS NULL)",
        schema="sampling",
    )
    op.add_column(
        "split_assignment",
        sa.Column("n_test_sky_drops", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Members of a fold scheme left out because they lie in its base's test sky"),
        schema="sampling",
    )
    for name, (_, comment) in COMMENTS.items():
        _comment(name, comment)
    op.create_table(
        "cross_validation",
        sa.Column("cross_validation_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Its key"),
        sa.Column("name", sa.Text(), nullable=False, comment="Its name: recipe and folds"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw of every fold"),
        sa.Column("base_scheme_id", sa.Integer(), nullable=False, comment="The scheme whose test sky no fold uses"),
        sa.Column("recipe_sha256", sa.Text(), nullable=False, comment="SHA-256 of the recipe as canonical JSON without name, scheme and accepted gate, hexadecimal"),
        sa.Column("n_folds", sa.Integer(), nullable=False, comment="Folds"),
        sa.Column("fold_nside", sa.Integer(), nullable=False, comment="HEALPix nside (NESTED) of the coarse cells that folds are made of"),
        sa.Column("guard_arcsec", sa.Double(), nullable=False, comment="Members of train and val this near to the held-out fold leave the manifest, arcsec"),
        sa.Column("seed", sa.Integer(), nullable=False, comment="Seed hashed with the coarse cells"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that began it"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When it was begun"),
        sa.CheckConstraint("recipe_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_cross_validation_recipe_sha256_hex")),
        sa.CheckConstraint("n_folds >= 2", name=op.f("ck_cross_validation_n_folds_range")),
        sa.CheckConstraint("guard_arcsec > 0", name=op.f("ck_cross_validation_guard_positive")),
        sa.ForeignKeyConstraint(["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_cross_validation_draw_id_draw")),
        sa.ForeignKeyConstraint(["base_scheme_id"], ["sampling.split_scheme.scheme_id"], name=op.f("fk_cross_validation_base_scheme_id_split_scheme")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_cross_validation_run_id_run")),
        sa.PrimaryKeyConstraint("cross_validation_id", name=op.f("pk_cross_validation")),
        sa.UniqueConstraint("name", name=op.f("uq_cross_validation_name")),
        schema="evaluation",
        comment="One recipe under spatial-holdout cross-validation: a model for each fold, tested on the sky that it was not trained near.",
    )
    op.create_index(op.f("ix_cross_validation_draw_id"), "cross_validation", ["draw_id"], schema="evaluation")
    op.create_index(op.f("ix_cross_validation_base_scheme_id"), "cross_validation", ["base_scheme_id"], schema="evaluation")
    op.create_table(
        "fold",
        sa.Column("cross_validation_id", sa.Integer(), nullable=False, comment="The cross-validation"),
        sa.Column("fold", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the fold, from 0"),
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The split scheme that holds it out"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model trained without it"),
        sa.Column("n_train", sa.Integer(), nullable=False, comment="Cutouts of the split train"),
        sa.Column("n_test", sa.Integer(), nullable=False, comment="Cutouts of the fold held out"),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives among n_test"),
        sa.CheckConstraint("fold >= 0", name=op.f("ck_fold_fold_not_negative")),
        sa.CheckConstraint("n_positives >= 0 AND n_positives <= n_test", name=op.f("ck_fold_positives_within_test")),
        sa.ForeignKeyConstraint(["cross_validation_id"], ["evaluation.cross_validation.cross_validation_id"], name=op.f("fk_fold_cross_validation_id_cross_validation"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["scheme_id"], ["sampling.split_scheme.scheme_id"], name=op.f("fk_fold_scheme_id_split_scheme")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_fold_model_id_model"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cross_validation_id", "fold", name=op.f("pk_fold")),
        sa.UniqueConstraint("model_id", name=op.f("uq_fold_model_id")),
        schema="evaluation",
        comment="One fold of a cross-validation; its rates are those of its model on the split test.",
    )
    op.create_index(op.f("ix_fold_scheme_id"), "fold", ["scheme_id"], schema="evaluation")
    for sql in (FOLD_OF_CELL, SPLIT_OF_FOLD):
        op.execute(sql)
    for sql in (SPLIT_LEAKAGE, CROSS_VALIDATION_FOLDS, CROSS_VALIDATION, STAGE_COUNTS):
        _view(sql)


def downgrade() -> None:
    op.execute(HELD_BY_MODELS)
    for name in ("cross_validation", "cross_validation_folds"):
        op.execute(f"DROP VIEW results.{name}")
    op.drop_table("fold", schema="evaluation")
    op.drop_table("cross_validation", schema="evaluation")
    for sql in (OLD_SPLIT_LEAKAGE, OLD_STAGE_COUNTS):
        _view(sql)
    op.execute("DROP FUNCTION sampling.split_of_fold(integer, integer, integer, integer, double precision)")
    op.execute("DROP FUNCTION sampling.fold_of_cell(integer, integer, integer)")
    op.execute("DELETE FROM sampling.split_scheme WHERE kind = 'fold'")
    op.drop_constraint(op.f("ck_guard_drop_guard_names_whom"), "guard_drop", schema="sampling")
    op.drop_column("guard_drop", "reason", schema="sampling")
    for name in ("nearest_member_id", "separation_arcsec"):
        op.alter_column("guard_drop", name, nullable=False, schema="sampling")
    op.drop_column("split_assignment", "n_test_sky_drops", schema="sampling")
    _fractions("train_below > 0 AND train_below < val_below AND val_below < 1")
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_split_scheme_{name}"), "split_scheme", schema="sampling")
    for name in ("fold", "n_folds", "fold_nside", "base_scheme_id", "kind"):
        op.drop_column("split_scheme", name, schema="sampling")
    for name, (comment, _) in COMMENTS.items():
        _comment(name, comment)


def _fractions(rule: str) -> None:
    name = op.f("ck_split_scheme_fractions_ordered")
    op.drop_constraint(name, "split_scheme", schema="sampling")
    op.create_check_constraint(name, "split_scheme", rule, schema="sampling")


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    _comment("VIEW results." + sql.split("VIEW results.")[1].split()[0], " ".join(lines))


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
