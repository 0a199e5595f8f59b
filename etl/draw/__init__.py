"""Stage 5: which galaxies are the negatives of a survey's positives.

`rules` is what a person may choose, `rows` fills the tables through the statements in `db/statements`, `stage` runs it.
"""
