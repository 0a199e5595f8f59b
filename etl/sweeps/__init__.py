"""Sweep FITS files into the pool of galaxies: one transaction per file, by workers that take files from a queue.

`reader` parses, `select` judges rows, `load_file` writes one file, `queue` hands them out, `load` starts the workers,
`ledger` remembers, `replace` puts a changed file in its rows' place, `status` tells.
"""
