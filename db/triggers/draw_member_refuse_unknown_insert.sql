CREATE OR REPLACE TRIGGER draw_member_refuse_unknown_insert AFTER INSERT ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_unknown_probability();
