"""A user's list of positions against the pool, the known lenses and the models' scores.

`positions` reads the list, `search` looks for each position, `write` gives the answer in the format of its file's name.
"""
