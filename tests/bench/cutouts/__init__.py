"""Cutouts at the survey's size: slicing, validation, packed loading, memory. `make bench-cutouts`.

Each part is a module with `measure(folder, sizes, out)`; limits stand beside the values.
"""
