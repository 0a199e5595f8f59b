-- Trigger function: a draw or a stratum that has members stays. The other half of refuse_mixed_draw; `stronglens draw delete`
-- takes the members out first.
CREATE OR REPLACE FUNCTION sampling.refuse_used_by_members() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    is_used boolean;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        is_used := EXISTS (SELECT FROM sampling.draw_member);
    ELSIF TG_TABLE_NAME = 'draw' THEN
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.draw_id = g.draw_id);
    ELSE
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.stratum_id = g.stratum_id);
    END IF;
    IF is_used THEN
        RAISE EXCEPTION '% of sampling.% is refused: it has members; run `stronglens draw delete`', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END
$$;
