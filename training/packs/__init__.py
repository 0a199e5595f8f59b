"""Packs: the cutouts of a manifest in a few large memory-mappable files.

`write` makes one and `records` knows them in the database; `read` opens one and gives its rows to training.
"""
