"""Sweep FITS files into the pool of galaxies: one Spark task and one transaction per file.

`reader` parses, `select` judges rows, `load_file` writes one file, `load` runs many, `ledger` remembers.
"""
