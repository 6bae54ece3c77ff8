# The whole project from a fresh clone. `make` alone prints the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV := $(VENV)/setup-tools/bin/uv
LOCK := environment/requirements-dev.lock
CONFIG ?= pipeline/configs/movielens_100k.yaml
DATA := data/movielens-100k
SOURCES := $(shell find schemas trainer components pipeline -name '*.py' -o -name '*.yaml' -o -name py.typed)

.PHONY: help run test unit integration e2e lint format lock clean

help:  ## Print the targets with a line each
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/installed $(DATA)/items.parquet  ## Environment, data and pipeline: metrics, a release, recommendations
	@$(BIN)/dssm run --config $(CONFIG)
	@$(BIN)/dssm recommend --config $(CONFIG) --user 42

test: lint  ## Environment and the whole test suite
	$(BIN)/pytest

unit: $(VENV)/installed  ## The unit tests, under a minute
	$(BIN)/pytest -m unit

integration: $(VENV)/installed  ## The tests with the real Transform, Beam and SavedModels
	$(BIN)/pytest -m integration

e2e: $(VENV)/installed  ## One run of the whole pipeline on synthetic data
	$(BIN)/pytest -m e2e

lint: $(VENV)/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy setup.py schemas trainer components pipeline benchmarks

format: $(VENV)/installed  ## Let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/environment  ## Pin the newest versions that environment/*.in allow
	cd environment && for name in requirements requirements-dev tools; do \
	  ../$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 $$( [ $$name = requirements-dev ] && echo "-c requirements.lock" ) $$name.in -o $$name.lock; done

clean:  ## Remove the environment, the data, the runs and the releases
	rm -rf $(VENV) build dist *.egg-info data runs serving

$(VENV)/environment: $(LOCK) environment/tools.lock environment/make_venv.sh environment/private_glibc.sh environment/apt_download.sh
	@environment/make_venv.sh $(VENV) $(LOCK)
	@touch $@

# Commands and tests use the installed wheel, never the working tree.
$(VENV)/installed: $(VENV)/environment setup.py pyproject.toml README.md LICENSE environment/requirements.in $(SOURCES)
	@rm -rf build dist *.egg-info
	@$(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --reinstall dist/*.whl
	@rm -rf build *.egg-info
	@touch $@

$(DATA)/items.parquet: | $(VENV)/installed
	@$(BIN)/dssm fetch movielens-100k
