-- Trigger function: only an imported draw, or a mined negative, may leave open how likely a negative was to be drawn.
CREATE OR REPLACE FUNCTION sampling.refuse_unknown_probability() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    unknown record;
BEGIN
    SELECT d.name AS draw_name, m.ls_id
    INTO unknown
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE m.label = 0 AND m.inclusion_probability IS NULL AND NOT d.is_imported AND m.category IS DISTINCT FROM 'mined'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: negative % has no inclusion probability: every draw but an imported one knows it',
            unknown.draw_name, unknown.ls_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
