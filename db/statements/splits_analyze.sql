-- The planner knows nothing of the cells and pairs that were written a moment ago, and the leak check would take minutes.
ANALYZE sampling.split_scheme, sampling.split_cell, sampling.close_pair, sampling.guard_drop, sampling.split_assignment
