-- The rows of a pass that kept too few candidates.
DROP TABLE draw_pass
