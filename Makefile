# `make` lists the targets. Whatever needs .venv creates it, and updates it when a lock changes.

PYTHON ?=
DEMO_NODES ?= 12
SOAK_NODES ?= 20
SOAK_MINUTES ?= 3
BENCHMARKS ?= targets gossip_step
TESTS ?=
UV ?= uv

BIN := .venv/bin
READY := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test interop check coverage coverage-consensus bench format lock clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

$(READY): requirements.lock requirements-build.lock pyproject.toml .ci/setup
	@PYTHON='$(PYTHON)' bash .ci/setup

setup: $(READY) ## .venv with the locked packages

demo: $(READY) ## a network on this machine, with faults; report in runs/demo (DEMO_NODES=12)
	@$(BIN)/sim-harness demo --nodes $(DEMO_NODES)

test: $(READY) ## all tests, or TESTS=tests/test_some.py
	@$(BIN)/python -m pytest $(TESTS)

interop: $(READY) ## one mesh with py-libp2p, js-libp2p (Node) and go-libp2p (Go), where they can run
	@bash tests/interop/install
	@$(BIN)/python -m pytest -rs tests/interop

check: $(READY) ## formatting, lint, types and the order of the floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(READY) ## branch coverage of primitives, model and protocol, with its floor
	@$(BIN)/python -m pytest -m 'not live' --cov --cov-report=term $(TESTS)
	@$(MAKE) coverage-consensus

coverage-consensus: # every branch of consensus, in the data that the tests left
	@$(BIN)/python -m coverage report --include='p2p/protocol/consensus/*' --fail-under=100

bench: $(READY) ## every benchmark, as JSON in runs/bench (BENCHMARKS="streams replica")
	@mkdir -p runs/bench
	@set -e; for name in $(BENCHMARKS); do \
		echo "== $$name"; \
		$(BIN)/python -m benchmarks.$$name --json > runs/bench/$$name.json; \
		cat runs/bench/$$name.json; \
	done

soak: $(READY) ## random faults; fails if anything but the chain grows (SOAK_NODES=20 SOAK_MINUTES=3)
	@$(BIN)/python examples/soak.py --nodes $(SOAK_NODES) --minutes $(SOAK_MINUTES)

format: $(READY) ## format, and fix what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## new lock files from pyproject.toml (needs uv; add UPGRADE=--upgrade for newer versions)
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' $(UPGRADE) --group build -o requirements-build.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' $(UPGRADE) --extra dev pyproject.toml -o requirements.lock
	@! grep -nE '://|^-' requirements.lock requirements-build.lock

clean: ## remove caches, builds and runs; .venv stays
	rm -rf runs build dist htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
