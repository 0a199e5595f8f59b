-- What each operating point yields in a survey of which a share `prior` are lenses like those of the sample: purity is
-- r prior / (r prior + f (1 - prior)), with recall r and survey FPR f of results.survey_rates.
-- Units: per_million: of a million galaxies that the finder looks at; cost in the units of cost_per_candidate (one object looked
-- at). lo and hi put the ends of the two 95 % intervals together, the worst with the worst: at least 95 %.
-- No rows where prior is not between 0 and 1; NULL where nothing would be a candidate, or recall is not known.
CREATE OR REPLACE FUNCTION results.purity_at(
    prior double precision,
    cost_per_candidate double precision DEFAULT 1
) RETURNS TABLE (
    model_id integer,
    model_name text,
    survey text,
    fpr_target double precision,
    threshold double precision,
    split text,
    sample text,
    lens_prior double precision,
    recall double precision,
    recall_lo double precision,
    recall_hi double precision,
    fpr double precision,
    fpr_lo double precision,
    fpr_hi double precision,
    purity double precision,
    purity_lo double precision,
    purity_hi double precision,
    candidates_per_million double precision,
    candidates_per_million_lo double precision,
    candidates_per_million_hi double precision,
    lenses_per_million double precision,
    candidates_per_lens double precision,
    candidates_per_lens_lo double precision,
    candidates_per_lens_hi double precision,
    cost_per_lens double precision,
    n_lenses integer,
    n_negatives integer,
    n_negatives_effective double precision,
    n_exceedances integer,
    is_uncertain boolean,
    n_test_accesses bigint
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
AS $$
WITH
    found AS (
        SELECT
            s.model_id, s.model_name, s.survey, s.fpr_target, s.threshold, s.split, s.sample, s.recall, s.recall_lo, s.recall_hi,
            s.fpr, s.fpr_lo, s.fpr_hi, s.n_lenses, s.n_negatives, s.n_negatives_effective, s.n_exceedances, s.is_uncertain,
            s.n_test_accesses,
            s.recall * prior AS true_share, s.recall_lo * prior AS true_lo, s.recall_hi * prior AS true_hi,
            s.fpr * (1 - prior) AS false_share, s.fpr_lo * (1 - prior) AS false_lo, s.fpr_hi * (1 - prior) AS false_hi
        FROM results.survey_rates AS s
        WHERE prior > 0 AND prior < 1
    )
SELECT
    f.model_id,
    f.model_name,
    f.survey,
    f.fpr_target,
    f.threshold,
    f.split,
    f.sample,
    prior,
    f.recall,
    f.recall_lo,
    f.recall_hi,
    f.fpr,
    f.fpr_lo,
    f.fpr_hi,
    f.true_share / nullif(f.true_share + f.false_share, 0),
    f.true_lo / nullif(f.true_lo + f.false_hi, 0),
    f.true_hi / nullif(f.true_hi + f.false_lo, 0),
    1e6 * (f.true_share + f.false_share),
    1e6 * (f.true_lo + f.false_lo),
    1e6 * (f.true_hi + f.false_hi),
    1e6 * f.true_share,
    (f.true_share + f.false_share) / nullif(f.true_share, 0),
    (f.true_hi + f.false_lo) / nullif(f.true_hi, 0),
    (f.true_lo + f.false_hi) / nullif(f.true_lo, 0),
    cost_per_candidate * (f.true_share + f.false_share) / nullif(f.true_share, 0),
    f.n_lenses,
    f.n_negatives,
    f.n_negatives_effective,
    f.n_exceedances,
    f.is_uncertain,
    f.n_test_accesses
FROM found AS f;
$$;
