"""From published catalogs and sweep files to validated cutouts, one stage a module, rows in and rows out.

Catalogs, sweeps, match, draw, splits, cutouts, validation; `mock/` renders a stand-in survey in DR10's formats.
"""
