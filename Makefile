# Developer commands; `make help` lists them. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
WORKERS ?= 2
CLIENTS ?= $(HOME)/.cache/session-continuity/clients

.PHONY: help demo browser screenshots test test-faults test-clients test-conformance bench plugins lint format lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(RUN)  ## the main job on the embedded database; TRANSCRIPT=path takes a recording of your own
	@$(BIN)/python demo/run.py $(TRANSCRIPT)

browser:  ## chromium for the tests, where it may be installed; they say so when it is not there
	@command -v chromium chromium-browser >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq -y install chromium >/dev/null; } || \
	echo "chromium is not installed: its tests are skipped"

test: $(DEV) browser  ## all tests but the long ones
	$(BIN)/python -m pytest -n $(WORKERS) -m "not faults and not clients and not conformance"

test-faults: $(DEV)  ## the long fault runs: kill -9, zombies, the state machine
	$(BIN)/python -m pytest -m faults -s --timeout 3600

test-clients: $(DEV)  ## real agents by a script, in a network namespace: captured, killed, resumed
	@sh tests/clients/install.sh $(CLIENTS)
	CONTINUITY_CLIENTS=$(CLIENTS) CONTINUITY_TEST_SERVERS=embedded $(BIN)/python -m pytest tests/clients tests/installation/test_mcp_entries.py -m clients -rA

test-conformance: $(DEV)  ## the official conformance suite and inspector of MCP, brought by npm
	$(BIN)/python -m pytest -m conformance -rs tests/mcp

bench: $(VENV)/.installed-bench  ## the figures, as ratios against named baselines in the same run
	$(BIN)/python bench/run.py $(BENCH)

screenshots: $(DEV) browser  ## every page of the dashboard as a picture, in screenshots/
	PYTHONPATH=. $(BIN)/python -m tests.dashboard.screenshots

plugins: $(RUN)  ## a package for each agent, in dist/plugins
	$(BIN)/python plugins/build.py dist/plugins

lint: $(DEV)  ## linter, formatter, types, import contract, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/squawk src/session_continuity/postgres/migrations/*.sql

format: $(DEV)  ## let the formatter have its way
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## renew the lock files with uv
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		pyproject.toml --group build -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		pyproject.toml --extra secrets --extra archive --extra notify --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:  ## remove what the commands made, but not the demo's data
	rm -rf $(VENV) screenshots .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(RUN): $(BIN)/python pyproject.toml requirements.lock
	@echo "Installing into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUN) requirements-dev.lock
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: $(RUN) bench/requirements.txt
	@$(PIP) -r bench/requirements.txt
	@touch $@
