CREATE OR REPLACE TRIGGER stratum_refuse_used_delete AFTER DELETE ON sampling.stratum
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();
