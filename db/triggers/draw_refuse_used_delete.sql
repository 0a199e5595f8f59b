CREATE OR REPLACE TRIGGER draw_refuse_used_delete AFTER DELETE ON sampling.draw
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();
