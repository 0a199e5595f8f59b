CREATE OR REPLACE TRIGGER draw_refuse_used_truncate BEFORE TRUNCATE ON sampling.draw
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();
