"""Snapshots: a manifest and its pack in one folder, to train on where there is no database.

`export` makes one from the database; `read` opens and verifies it; `train` trains on it.
"""
