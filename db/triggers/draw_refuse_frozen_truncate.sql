CREATE OR REPLACE TRIGGER draw_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.draw
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
