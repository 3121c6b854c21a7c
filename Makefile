# `make` lists the targets. `make demo` and `make test` set everything up themselves: they need Python 3.11+ and make.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RIGHT_PYTHON := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
# The first Python 3.11+ of these; choose another with `make install PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p $(RIGHT_PYTHON) 2>/dev/null && echo $$p && break; done)
# More arguments for the program that a target runs: `make test ARGS=-x`, `make demo ARGS="--seed 3"`.
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo experiment test test-all soak lint format docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Set up .venv: oddwatch (editable), all extras, the tools of the developers
	@echo 'oddwatch is ready in $(VENV).'

demo: $(STAMP) ## Learn a rendered scene, find what is unusual in it, write a report
	$(BIN)/oddwatch demo $(ARGS)

experiment: $(STAMP) ## The published experiment in small: rendered clips, six configurations, their table
	$(BIN)/python benchmarks/experiment.py $(ARGS)

test: $(STAMP) ## Run the default tests, on all cores
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

test-all: $(STAMP) ## Run the tests that `make test` leaves out (slow, service); a skip is a failure
	$(BIN)/python -m pytest -m "slow or service" --no-skips --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(STAMP) ## Watch eight cameras for two hours (ODDWATCH_SOAK_SECONDS=300 for five minutes)
	$(BIN)/python -m pytest -m soak --no-skips $(ARGS)

lint: $(STAMP) ## Check style, format and types
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

format: $(STAMP) ## Mend what ruff can mend
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

docs: $(STAMP) ## Write docs/cli.md anew from the commands' own help
	$(BIN)/python tools/cli_docs.py

clean: ## Remove what tests and builds leave behind (keeps .venv)
	rm -rf build dist htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache
	find benchmarks src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the folder it was made in: a virtual environment does not survive being moved or copied.
STAMPED := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(STAMPED),$(CURDIR))
.PHONY: $(STAMP)
MOVED := $(if $(STAMPED),$(VENV))
endif

$(STAMP): pyproject.toml constraints.txt tools/install_torch.py
	@test -n "$(PYTHON)" && $(PYTHON) $(RIGHT_PYTHON) 2>/dev/null || { \
		echo 'oddwatch needs Python 3.11 or newer. Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python' >&2; \
		exit 1; }
	@rm -rf $@ $(MOVED)
	@$(BIN)/python $(RIGHT_PYTHON) 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python tools/install_torch.py
	@echo 'Installing oddwatch and what it needs in $(VENV): this can take some minutes.'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	@echo '$(CURDIR)' > $@
