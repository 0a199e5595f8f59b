CREATE OR REPLACE TRIGGER galaxy_refuse_used_delete AFTER DELETE ON catalog.galaxy
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();
