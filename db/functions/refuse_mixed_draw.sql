-- Trigger function: a draw takes galaxies of its own survey only.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    SELECT d.name AS draw_name, d.survey AS draw_survey, g.ls_id, g.survey AS galaxy_survey
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
    WHERE g.survey <> d.survey
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % is of survey %, galaxy % of survey %: a draw never mixes surveys',
            stranger.draw_name, stranger.draw_survey, stranger.ls_id, stranger.galaxy_survey
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
