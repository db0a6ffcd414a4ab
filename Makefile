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

# Two passes: what measures would be disturbed by a neighbour. Both run whatever the other finds.
test: $(READY)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist worksteal -m "not measured"; beside=$$?; \
	$(BIN)/python -m pytest -q -m measured; alone=$$?; \
	echo "tests side by side: exit code $$beside; tests that measure, alone: exit code $$alone"; \
	[ $$beside = 0 ] && [ $$alone = 0 ]

check: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports >.import-linter.log || { cat .import-linter.log; exit 1; }
	@rm -f .import-linter.log

bench: $(READY)
	@for script in $$(grep -L 'add_argument("model"' tools/bench_*.py); do \
	  name=$$(basename $$script .py); folder=$$(grep -q 'add_argument("folder"' $$script && echo runs/$$name); \
	  echo "== $$name"; $(BIN)/python -m tools.$$name $$folder || exit 1; \
	done

clean:
	rm -rf runs dist .mypy_cache .ruff_cache .pytest_cache
