CREATE OR REPLACE TRIGGER stratum_refuse_used_truncate BEFORE TRUNCATE ON sampling.stratum
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();
