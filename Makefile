# Everything runs from a clean checkout with Python 3.11 or newer; `make` alone lists the targets.
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
TORCH ?= torch==2.13.0
# The libraries are compiled once, at their first import, and not in each of the processes that the tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help venv demo test test-all wheel-test lint docs site measure clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(BIN)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile '$(TORCH)'
	$(BIN)/pip install --quiet --no-compile --editable '.[demo,dev,docs]'
	touch $@

venv: $(BIN)/.installed ## Create .venv and install the package with its development tools

demo: venv ## Reprogram a real encoder for tweet sentiment and show the results (about 7 minutes)
	$(BIN)/python demo/prepare.py demo_output
	$(BIN)/python demo/run.py demo_output

test: venv ## Check style, types and generated docs, then run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check
	$(BIN)/python -m pytest -q -n auto --dist loadfile

test-all: venv ## All tests, the slow ones too
	$(BIN)/python -m pytest -q -m ''

wheel-test: venv ## Build the wheel, install it in an environment of its own and use it from an empty folder
	$(BIN)/python tools/wheel_test.py

lint: venv ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: venv ## Write what is generated, and build the documentation into site/
	$(BIN)/python tools/generate.py
	$(MAKE) --no-print-directory site

site: venv ## Build the documentation into site/, strictly; it needs no network to be read
	$(BIN)/python tools/pages.py
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/python tools/links.py site

measure: venv ## Run every recipe behind the README's tables; SOURCES=DIR holds a folder of each source
	$(BIN)/python tools/measure.py --sources '$(SOURCES)' results

clean: ## Remove what make created
	rm -rf $(VENV) demo_output build dist site *.egg-info
