CREATE OR REPLACE TRIGGER galaxy_refuse_used_update AFTER UPDATE ON catalog.galaxy
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();
