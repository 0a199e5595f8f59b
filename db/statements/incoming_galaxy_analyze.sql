-- The planner knows nothing of a table that was made a moment ago.
ANALYZE pg_temp.incoming_galaxy
