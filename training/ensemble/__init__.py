"""Ensembles: models whose scores are made of those of other models.

How scores are combined is in `combine`; `make` writes the model, its members and its scores.
"""
