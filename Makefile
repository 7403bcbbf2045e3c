# Every target sets up what it needs. Only relative paths, so that a folder with spaces in its name works too.
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
INSTALLED := .venv/pyproject.toml
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 600 --nbval-sanitize-with tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test lint bench tables notebooks clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '%-10s %s\n' "$$name" "$$text"; done

setup: ## make .venv and install the package with all extras; does nothing if that is done
	@if ! cmp -s pyproject.toml $(INSTALLED); then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is not Python 3.11 or newer; name one that is: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }; \
	  [ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv || { \
	    echo "no .venv could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	  if $(BIN)/python -m pip install -e '.[all]'; then cp pyproject.toml $(INSTALLED); \
	  else $(BIN)/python -m pip check && $(BIN)/manifpt --help >/dev/null && \
	    echo "not installed anew (offline?); going on with what .venv holds" >&2; fi; \
	fi

reproduce: setup ## run every notebook headless at the smoke profile and print a summary; JOBS=1 runs one at a time
	$(BIN)/manifpt reproduce --profile smoke --jobs $(JOBS)

test: lint ## lint, tests, and the notebooks run anew
	$(BIN)/python -m pytest
	TQDM_DISABLE=1 $(BIN)/python -m pytest $(NBVAL) notebooks

lint: setup ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: setup ## time the projection against faiss and a per-image loop
	$(BIN)/manifpt bench projection

tables: setup ## write the README's tables anew from the committed results and the last runs
	$(BIN)/manifpt readme

notebooks: setup ## run every notebook and keep the outputs in it, as they are committed
	$(BIN)/manifpt reproduce --in-place --jobs $(JOBS)

clean: ## remove build products and .manifpt (cache, runs, downloads); keeps .venv
	rm -rf .manifpt build dist .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
