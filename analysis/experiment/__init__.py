"""Experiments: arms by seeds, trained and judged by the same stages as any model, and written up from the views.

A file says beforehand what is asked and what is expected; the write-up says what came of it.
"""
