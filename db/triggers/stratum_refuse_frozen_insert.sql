CREATE OR REPLACE TRIGGER stratum_refuse_frozen_insert AFTER INSERT ON sampling.stratum
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
