CREATE OR REPLACE TRIGGER galaxy_refuse_used_truncate BEFORE TRUNCATE ON catalog.galaxy
FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();
