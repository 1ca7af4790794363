# make train: everything from nothing to runs/demo/. make test: lint, types, tests.
PYTHON ?= python3
CONSTRAINTS ?= .ci/constraints.txt
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help train test test-all bench format clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

data/demo: | $(INSTALLED)
	$(BIN)/detr-diff data synth out=$@

train: $(INSTALLED) data/demo  ## install, generate the demo data, train, evaluate, write runs/demo/
	$(BIN)/detr-diff train experiment=demo resume=true

test: $(INSTALLED)  ## install, lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
	@command -v chromium >/dev/null || echo 'No chromium on the path: the tests of the report in a browser were skipped.'

test-all: test  ## the exhaustive tests too
	$(BIN)/python -m pytest -m exhaustive

bench: $(INSTALLED)  ## this package against the transformers Trainer, on this machine
	$(BIN)/detr-diff bench

format: $(INSTALLED)  ## mend layout and imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what make made, but no runs and no data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
