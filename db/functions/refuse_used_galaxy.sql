-- Trigger function: a galaxy that a draw holds stays in the pool. The other half of refuse_mixed_draw: whoever takes galaxies
-- out waits for the draws that are being written, and the other way round. An UPDATE comes here row by row, and only where it
-- changes the key: one of all other columns of the whole pool keeps no row aside.
CREATE OR REPLACE FUNCTION catalog.refuse_used_galaxy() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM sampling.draw_member AS m JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        WHERE m.ls_id IS NOT NULL
        LIMIT 1;
    ELSIF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone) THEN
            RETURN NULL;
        END IF;
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM gone AS g
        JOIN sampling.draw_member AS m ON m.ls_id = g.ls_id
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        LIMIT 1;
    ELSE
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        WHERE m.ls_id = OLD.ls_id
        LIMIT 1;
    END IF;
    IF FOUND THEN
        RAISE EXCEPTION 'galaxy % is held by draw %: it stays in the pool', used.ls_id, used.draw_name
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END
$$;
