# Every command brings its own environment: python3 (3.11 or newer) and make are all it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 4

.PHONY: help install demo serve check test bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Paystate needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked packages (once; about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(STAMP) ## the environment in .venv, from the locked hashes

demo: $(STAMP) ## the main story on SQLite with the sandbox provider, then its audit
	@$(BIN)/paystate demo

serve: $(STAMP) ## web and worker on http://127.0.0.1:8420
	@$(BIN)/paystate serve

check: $(STAMP) ## ruff, mypy --strict, import contracts, house rules
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest tests/house -p no:randomly

test: $(STAMP) ## everything, on SQLite and on PostgreSQL
	@sh tools/browser.sh
	@$(BIN)/python -m pytest -n $(WORKERS)

bench: $(STAMP) ## every figure, as ratios measured in this run
	@$(BIN)/python -m benchmarks all

lock: $(STAMP) ## resolve again and write the hashed locks
	@sh tools/lock.sh

clean: ## remove what the other commands made
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis
