CREATE OR REPLACE TRIGGER draw_refuse_frozen BEFORE UPDATE OR DELETE ON sampling.draw
FOR EACH ROW EXECUTE FUNCTION sampling.refuse_frozen_draw();
