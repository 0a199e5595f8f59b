.DEFAULT_GOAL := help
.PHONY: help setup demo dashboard screenshot test bench-pool bench-cutouts bench-gates bench-train check dump format clean
SHELL := /bin/bash
PYTHON_FILES := stronglens.py db etl training analysis dashboard migrations tests

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: ## Install what is missing: system packages, .venv, Python packages
	@./setup.sh

demo: setup ## The whole path on the mock sky, from catalogs to results
	@.venv/bin/stronglens demo

dashboard: setup ## Open the dashboard on what is in the database
	@.venv/bin/stronglens dashboard

screenshot: ## Photograph a running dashboard for the README (docs/images/dashboard.png)
	@./setup.sh --tests
	@.venv/bin/python -m dashboard.screenshot

dump: setup ## Write the dump of a small populated database at this revision (at the end of an issue)
	@.venv/bin/pytest -q -m dump tests/db/make_dump.py

test: ## Run the tests
	@./setup.sh --tests
	@.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

ROWS ?= 10000000
bench-pool: setup ## Measure loading and searching the pool (ROWS=10000000); table and JSON in build/bench
	@.venv/bin/python -m tests.bench.pool --rows $(ROWS)

bench-cutouts: setup ## Measure cutting, validating and packed loading of cutouts; table and JSON in build/bench
	@.venv/bin/python -m tests.bench.cutouts

bench-gates: setup ## Measure how well the shortcut audit finds planted shortcuts; table for docs/validation.md
	@.venv/bin/python -m tests.bench.gates

bench-train: setup ## Measure the training loop, evaluation statistics and, where there is one, the GPU
	@.venv/bin/python -m tests.bench.train

check: setup ## Format, lint, types, and drift between models and migrations
	@.venv/bin/ruff format --check $(PYTHON_FILES)
	@.venv/bin/ruff check $(PYTHON_FILES)
	@.venv/bin/mypy
	@.venv/bin/python -m db.drift

format: setup ## Rewrite the code in the house format
	@.venv/bin/ruff format $(PYTHON_FILES)
	@.venv/bin/ruff check --fix $(PYTHON_FILES)

clean: ## Remove caches and build outputs; the database and the store stay
	@rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache spark-warehouse metastore_db derby.log
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
