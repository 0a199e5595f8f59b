CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.draw_member
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
