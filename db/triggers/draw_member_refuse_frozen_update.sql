CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_update AFTER UPDATE ON sampling.draw_member
REFERENCING OLD TABLE AS former NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
