CREATE OR REPLACE TRIGGER draw_refuse_used_update AFTER UPDATE ON sampling.draw
FOR EACH ROW WHEN (OLD.draw_id IS DISTINCT FROM NEW.draw_id) EXECUTE FUNCTION sampling.refuse_used_by_members();
