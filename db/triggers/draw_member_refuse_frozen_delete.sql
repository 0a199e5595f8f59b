CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_delete AFTER DELETE ON sampling.draw_member
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
