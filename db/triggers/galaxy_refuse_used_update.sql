CREATE OR REPLACE TRIGGER galaxy_refuse_used_update AFTER UPDATE ON catalog.galaxy
FOR EACH ROW WHEN (OLD.ls_id IS DISTINCT FROM NEW.ls_id) EXECUTE FUNCTION catalog.refuse_used_galaxy();
