CREATE OR REPLACE TRIGGER draw_member_refuse_mixed_update AFTER UPDATE ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_mixed_draw();
