# unstatic: `make video` makes a clip, `make test` checks everything. Both set up .venv themselves.

# Of sixty films of this sentence the one with this seed was chosen; a sentence of your own has seed 0.
ifndef PROMPT
SEED ?= 3
endif
PROMPT ?= a white horse walks to the left over the snow at sunset, the camera following it
SEED ?= 0

# The first Python on the path that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
SETUP := scripts/setup_environment.py
INSTALLED := .venv/installed
INSTALLED_DEV := .venv/installed-dev
NO_PYTHON := unstatic needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python

export PROMPT SEED

.DEFAULT_GOAL := help
.PHONY: help video test lint soak wheel clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

video: $(INSTALLED)  ## Make a clip: make video PROMPT="a blue cube falls onto grass" SEED=7
	@$(BIN)/unstatic video --seed "$$SEED" "$$PROMPT"

# A process for every core, but no more than memory is sure to be there for; a file of tests stays in one.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile

# Waiting threads sleep instead of spinning: up to 20 times faster on a machine that others use too.
test: export OMP_WAIT_POLICY ?= PASSIVE
test: export GOMP_SPINCOUNT ?= 0
test: lint  ## Check style, types, layers, and run all tests
	$(BIN)/pytest $(SIDE_BY_SIDE) -m plain
	$(BIN)/pytest $(SIDE_BY_SIDE) -m "not plain" --jaxtyping-packages=unstatic,beartype.beartype

lint: $(INSTALLED_DEV)  ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

soak: $(INSTALLED_DEV)  ## Kill servers while they make films, and see whether anything is lost
	$(BIN)/python scripts/soak.py --rounds 3 --jobs 100 --kills 20

wheel: $(INSTALLED_DEV)  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel
	@test -z "$$(find dist -name '*.whl' -size +95000000c)" || { echo "the wheel is larger than 95 MB" >&2; exit 1; }

clean:  ## Remove the environment, caches and builds
	rm -rf .venv dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt $(SETUP)
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(PYTHON) $(SETUP)
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt $(SETUP)
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(PYTHON) $(SETUP) --extras dev,train,world,server
	@touch $@ $(INSTALLED)
