-- Trigger function: a draw or a stratum that has members stays, and keeps its key. The other half of refuse_mixed_draw, whose
-- lock it takes: it waits for members that are being written, and the other way round. `stronglens draw delete` takes the
-- members out first. An UPDATE comes here row by row, and only where it changes a key.
CREATE OR REPLACE FUNCTION sampling.refuse_used_by_members() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    is_used boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock(1398033751);
    IF TG_OP = 'TRUNCATE' THEN
        is_used := EXISTS (SELECT FROM sampling.draw_member);
    ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'draw' THEN
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.draw_id = g.draw_id);
    ELSIF TG_OP = 'DELETE' THEN
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.stratum_id = g.stratum_id);
    ELSIF TG_TABLE_NAME = 'draw' THEN
        is_used := EXISTS (SELECT FROM sampling.draw_member AS m WHERE m.draw_id = OLD.draw_id);
    ELSE
        is_used := EXISTS (SELECT FROM sampling.draw_member AS m WHERE m.stratum_id = OLD.stratum_id);
    END IF;
    IF is_used THEN
        RAISE EXCEPTION '% of sampling.% is refused: it has members; run `stronglens draw delete`', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END
$$;
