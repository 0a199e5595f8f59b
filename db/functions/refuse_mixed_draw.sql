-- Trigger function: a draw takes galaxies that are in the pool, and of its own survey only.
-- It stands in for a foreign key, which would look up and lock each galaxy's row by itself: half a million random reads, and
-- as many pages written, at the end of every draw. This looks at the keys of all new members at once, in the index alone: the
-- survey is in the key (release 9990 is the mock sky's). The lock keeps galaxies from going at the same moment; see
-- refuse_used_galaxy.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1398033751);
    SELECT d.name AS draw_name, m.ls_id
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE m.ls_id IS NOT NULL AND NOT EXISTS (SELECT FROM catalog.galaxy AS g WHERE g.ls_id = m.ls_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: galaxy % is not in catalog.galaxy', stranger.draw_name, stranger.ls_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT d.name AS draw_name, d.survey AS draw_survey, m.ls_id
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE ((m.ls_id >> 40) = 9990) <> (d.survey = 'mock')
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % is of survey %, galaxy % is not: a draw never mixes surveys',
            stranger.draw_name, stranger.draw_survey, stranger.ls_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
