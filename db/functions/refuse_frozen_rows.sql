-- Trigger function: the members and strata of a draw that a model uses are history, by whatever statement.
CREATE OR REPLACE FUNCTION sampling.refuse_frozen_rows() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT m.name AS model_name, m.draw_id INTO used FROM training.model AS m ORDER BY m.model_id LIMIT 1;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT m.name AS model_name, m.draw_id INTO used
        FROM training.model AS m
        WHERE EXISTS (SELECT FROM changed AS c WHERE c.draw_id = m.draw_id)
            OR EXISTS (SELECT FROM former AS f WHERE f.draw_id = m.draw_id)
        ORDER BY m.model_id
        LIMIT 1;
    ELSE
        SELECT m.name AS model_name, m.draw_id INTO used
        FROM training.model AS m
        WHERE EXISTS (SELECT FROM changed AS c WHERE c.draw_id = m.draw_id)
        ORDER BY m.model_id
        LIMIT 1;
    END IF;
    IF FOUND THEN
        RAISE EXCEPTION '% of sampling.% is refused: draw % is frozen, model % uses it; make another draw',
            TG_OP, TG_TABLE_NAME,
            coalesce((SELECT d.name FROM sampling.draw AS d WHERE d.draw_id = used.draw_id), used.draw_id::text),
            used.model_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
