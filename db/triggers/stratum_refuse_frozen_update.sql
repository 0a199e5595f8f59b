CREATE OR REPLACE TRIGGER stratum_refuse_frozen_update AFTER UPDATE ON sampling.stratum
REFERENCING OLD TABLE AS former NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
