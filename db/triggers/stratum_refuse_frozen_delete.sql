CREATE OR REPLACE TRIGGER stratum_refuse_frozen_delete AFTER DELETE ON sampling.stratum
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
