"""Cutouts that exist already, taken in as they are: read and checked, linked to their galaxies, recorded.

`place` lists the files, `reading` looks at them, `checksums` at a list of their hashes, `placing` finds their galaxies
and lenses, `recorded` what there is of these, `storing` copies and records, `stage` does it all batch by batch.
"""
