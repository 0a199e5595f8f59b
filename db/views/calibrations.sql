-- Grain: one calibration of one model.
-- Inputs: evaluation.calibration; training.model.
-- Units: temperature, intercept, slope of log-odds, dimensionless, NULL where the method has none; prevalence is the share of
--   positives that the probabilities hold for, that of the draw (about 1/100), not of the sky (about 1e-4).
-- Excludes: the corners of isotonic calibrations and the replicates, which are in evaluation.calibration.
CREATE OR REPLACE VIEW results.calibrations AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    c.method,
    (c.body ->> 'temperature')::double precision AS temperature,
    (c.body ->> 'intercept')::double precision AS intercept,
    (c.body ->> 'slope')::double precision AS slope,
    jsonb_array_length(c.body -> 'score') AS n_corners,
    c.n_positives,
    c.n_negatives,
    c.prevalence
FROM evaluation.calibration AS c
JOIN training.model AS mo ON mo.model_id = c.model_id;
