CREATE OR REPLACE TRIGGER stratum_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.stratum
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
