"""Stage 11, the evaluation of a model: thresholds chosen on val, counts, areas, intervals; rows that views publish.

Val is read whenever asked for; the test split is locked, and each reading of it is recorded with its reason.
"""
