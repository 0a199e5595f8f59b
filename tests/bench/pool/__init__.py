"""The pool's speed: `python -m tests.bench.pool` (`make bench-pool`) holds it against its limits.

`sky` and `sweep_file` make the input, `bench_server` is the database, `rates`, `full_scale`, `searches` and `order`
measure, `limits` judges and `report` writes.
"""
