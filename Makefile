.PHONY: setup compress test check bench clean
.DEFAULT_GOAL := compress

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The stamp makes a second `make` start at once; it is renewed when the locked set or the package's metadata changes.
$(READY): constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "edgekd needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python"; exit 2; }
	@echo "installing the locked set into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0 --editable '.[compress,demo,dev]'
	@touch $@

setup: $(READY)

compress: $(READY)
	@$(BIN)/edgekd compress --recipe mnist5k --target host --run-folder runs/mnist5k

test: $(READY)
	@$(BIN)/python -m pytest -q

check: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports >.import-linter.log || { cat .import-linter.log; exit 1; }
	@rm -f .import-linter.log

bench: $(READY)
	@for script in tools/bench_*.py; do echo "== $$script"; $(BIN)/python -m tools.$$(basename $$script .py) || exit 1; done

clean:
	rm -rf runs dist .mypy_cache .ruff_cache .pytest_cache
