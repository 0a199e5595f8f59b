CREATE OR REPLACE TRIGGER stratum_refuse_used_update AFTER UPDATE ON sampling.stratum
FOR EACH ROW WHEN (OLD.stratum_id IS DISTINCT FROM NEW.stratum_id OR OLD.draw_id IS DISTINCT FROM NEW.draw_id)
EXECUTE FUNCTION sampling.refuse_used_by_members();
