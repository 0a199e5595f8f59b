-- Trigger function: a member belongs to a draw that is there, to a stratum of that draw, and to a galaxy of the pool, of the
-- draw's own survey.
-- It stands in for three foreign keys, which would look for each member by itself. Those on draw and stratum would take a good
-- part of a draw's time; that on the galaxy would lock each galaxy's row: half a million random reads, and as many pages
-- written, at the end of every draw. This looks at all new members at once, and for galaxies in the index alone: the survey is
-- in the key (release 9990 is the mock sky's). The lock keeps galaxies, draws and strata from going at the same moment; see
-- refuse_used_galaxy and refuse_used_by_members.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1398033751);
    SELECT m.draw_id, m.stratum_id
    INTO stranger
    FROM (SELECT DISTINCT c.draw_id, c.stratum_id FROM changed AS c) AS m
    LEFT JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id AND s.draw_id = m.draw_id
    WHERE d.draw_id IS NULL OR (m.stratum_id IS NOT NULL AND s.stratum_id IS NULL)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % with stratum % is not in sampling.stratum', stranger.draw_id, stranger.stratum_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT m.draw_id, m.ls_id
    INTO stranger
    FROM changed AS m
    WHERE m.ls_id IS NOT NULL AND NOT EXISTS (SELECT FROM catalog.galaxy AS g WHERE g.ls_id = m.ls_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: galaxy % is not in catalog.galaxy',
            (SELECT d.name FROM sampling.draw AS d WHERE d.draw_id = stranger.draw_id), stranger.ls_id
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
