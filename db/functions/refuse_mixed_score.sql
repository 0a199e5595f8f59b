-- Trigger function: a model scores cutouts of its own survey only.
CREATE OR REPLACE FUNCTION training.refuse_mixed_score() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    SELECT m.name AS model_name, m.survey AS model_survey, c.cutout_id, c.survey AS cutout_survey
    INTO stranger
    FROM changed AS s
    JOIN training.model AS m ON m.model_id = s.model_id
    JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
    WHERE c.survey <> m.survey
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'model % is of survey %, cutout % of survey %: a model never mixes surveys',
            stranger.model_name, stranger.model_survey, stranger.cutout_id, stranger.cutout_survey
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
