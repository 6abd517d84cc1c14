# make demo | test | lint | bench: each makes .venv first when it is missing or out of date.
# Needs Python >= 3.10 and bash. Another Python: make demo PYTHON=/path/to/python3
# More words for the command behind a target: make test ARGS="-k prior --no-cov"

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
RUN := PATH="$(BIN):$$PATH"

.PHONY: install demo test lint bench
.DEFAULT_GOAL := install

install: $(STAMP)

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "make: needs Python >= 3.10, but there is no command '$(PYTHON)';" \
	    "install it, or name one with PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and \
	  f"make: needs Python >= 3.10, got {v[0]}.{v[1]} ({sys.executable}); " \
	  "name a newer one with PYTHON=/path/to/python3")'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "make: '$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu run" \
	    "'apt install python3-venv', or name another Python with PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(BIN)/python" -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "installing into $(VENV) with $$("$(BIN)/python" --version): 5 GB on disk with torch," \
	  "about two minutes on a fast line ..."
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Trains, scores and compares plain and Bayesian x-vectors on synthetic speakers.
demo: $(STAMP)
	@$(RUN) recipes/quickstart/run.sh $(ARGS)

# One process per core, four at most: each imports torch and Lightning (seconds, half a gigabyte).
test: $(STAMP)
	@$(RUN) python -m pytest --numprocesses auto --maxprocesses 4 --cov $(ARGS)

lint: $(STAMP)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) codespell

bench: $(STAMP)
	@for script in benchmarks/*.py; do \
	  echo "== $$script"; $(RUN) python "$$script" $(ARGS) || exit 1; \
	done
