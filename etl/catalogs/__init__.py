"""Published catalogs into the ledger of known lenses: lenscat, and tables of single papers.

`lenscat` and `tables` read files, `merge` decides which rows speak of one object, `load` writes rows.
"""
