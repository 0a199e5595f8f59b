"""Does the shortcut audit bite: known shortcuts planted in mock skies, and how many of them it finds.

`sky` renders and cuts, `plants` spoils, `trial` audits one seed, `table` counts; `python -m tests.bench.gates` runs it.
"""
