-- Grain: one operating point of one model and one sample of lenses (tier_a, tier_ab), on one split, at one prior.
-- Inputs: results.purity_at, thus results.survey_rates; for other priors and a cost ask `results.purity_at(prior, cost)`.
-- Units: lens_prior is the share of galaxies that are lenses: about 1e-4 in the sky, where the draw has 1 in 100; purity in [0, 1];
--   per_million: of a million galaxies looked at; cost_per_lens at a cost of 1 for each candidate. lo, hi: both 95 %
--   intervals' ends, worst with worst.
-- Excludes: what results.survey_rates excludes. is_uncertain as there; n_negatives is what the FPR rests on.
CREATE OR REPLACE VIEW results.purity AS
SELECT
    p.model_id,
    p.model_name,
    p.survey,
    p.fpr_target,
    p.threshold,
    p.split,
    p.sample,
    p.lens_prior,
    p.recall,
    p.recall_lo,
    p.recall_hi,
    p.fpr,
    p.fpr_lo,
    p.fpr_hi,
    p.purity,
    p.purity_lo,
    p.purity_hi,
    p.candidates_per_million,
    p.candidates_per_million_lo,
    p.candidates_per_million_hi,
    p.lenses_per_million,
    p.candidates_per_lens,
    p.candidates_per_lens_lo,
    p.candidates_per_lens_hi,
    p.cost_per_lens,
    p.n_lenses,
    p.n_negatives,
    p.n_negatives_effective,
    p.n_exceedances,
    p.is_uncertain,
    p.n_test_accesses
FROM (VALUES (1e-5::double precision), (3e-5), (1e-4), (3e-4), (1e-3)) AS priors (prior)
CROSS JOIN LATERAL results.purity_at(priors.prior) AS p;
