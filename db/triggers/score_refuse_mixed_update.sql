CREATE OR REPLACE TRIGGER score_refuse_mixed_update AFTER UPDATE ON training.score
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION training.refuse_mixed_score();
