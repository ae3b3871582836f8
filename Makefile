# The few commands of Tidewatch, the same for a newcomer, a developer and CI.
# Needs make and Python 3.11, 3.12 or 3.13; everything else comes from requirements.lock, by hash.

PYTHON ?= python3
VENV ?= .venv
FAULT ?=
TRAINING ?=
JSON ?=
UPGRADE ?=
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
INSTALLED := $(VENV)/.installed
# What is quick; the rest starts servers, trains for a while, reads the public data or needs a GPU.
UNIT := not slow and not service and not data and not gpu
# So many processes at a time; whoever has nothing left takes half of what another one has before it. WORKERS=0 runs all in one.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# Options that name a place (indexes, find-links) stay out of the lock, and no machine's uv configuration goes in; but its certificates do count.
COMPILE := $(BIN)/uv --no-config --system-certs pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --annotation-style line --custom-compile-command 'make lock' --no-emit-find-links --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo test unit rest lint lock lock-check bench clean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make the environment in .venv (PYTHON=python3.12 and VENV=folder choose others); a second time does nothing

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
		echo "Tidewatch needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Hint: make setup PYTHON=python3.12 (any of the three that you have)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: Debian and Ubuntu ship its venv module apart." >&2; \
		echo "Hint: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing requirements.lock into $(VENV), once: a few minutes."
	$(PIP) --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true # on every core; a template that is no Python stays as it is
	@touch $@

$(READY): $(INSTALLED) pyproject.toml
	$(PIP) --no-deps --no-build-isolation --no-index -e .
	@touch $@

demo: setup ## the whole pipeline on a simulated fleet; FAULT=x100 plants a scaling fault, TRAINING=crippled is held, JSON=1 prints a record
	$(BIN)/tidewatch demo $(if $(FAULT),--fault $(FAULT)) $(if $(TRAINING),--training $(TRAINING)) $(if $(JSON),--json)

test: unit rest ## every test, the quick ones first

unit: setup ## the tests that take seconds
	$(PYTEST) -m '$(UNIT)'

rest: setup ## the tests that train, start servers, read public data or use a GPU
	$(PYTEST) -m 'not ($(UNIT))'

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: setup ## write requirements.lock from pyproject.toml; UPGRADE=1 takes the newest that it allows
	$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file requirements.lock

lock-check: setup ## fail where requirements.lock is not what pyproject.toml asks for
	@copy=$$(mktemp) && trap 'rm -f "$$copy"' EXIT && cp requirements.lock "$$copy" && \
	$(COMPILE) --output-file "$$copy" >/dev/null && diff -u requirements.lock "$$copy" || { \
		echo "requirements.lock does not follow pyproject.toml. Hint: make lock" >&2; exit 1; }

bench: setup ## every benchmark under tests/benchmarks, one after another
	@set -e; for script in tests/benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## remove environments and caches; what Tidewatch itself has written (.tidewatch) stays
	rm -rf .venv .venv3* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
