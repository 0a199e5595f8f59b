-- Trigger function: a draw that a model uses is neither changed nor deleted.
CREATE OR REPLACE FUNCTION sampling.refuse_frozen_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    model_name text;
BEGIN
    SELECT m.name INTO model_name FROM training.model AS m WHERE m.draw_id = OLD.draw_id ORDER BY m.model_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% of sampling.draw is refused: draw % is frozen, model % uses it; make another draw',
            TG_OP, OLD.name, model_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
