# The whole project from a fresh clone. `make` alone prints the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV := $(VENV)/setup-tools/bin/uv
SEQUENCE_VENV := .venv-sequence-models
LOCK := environment/requirements-dev.lock
# A file at a time for each worker, in the order of collection, since those of tests/e2e take longest.
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
CONFIG ?= pipeline/configs/movielens_100k.yaml
DATA := data/movielens-100k
USER_ID ?= 42
IMAGE ?= dssm-pipeline:0.1.0
SOURCES := $(shell find schemas trainer components pipeline -name '*.py' -o -name '*.yaml' -o -name '*.jinja' -o -name '*.css' -o -name '*.html' -o -name py.typed)

.PHONY: help run test unit integration e2e lint browser format sequence-models lock image kubeflow-local clean

help:  ## Print the targets with a line each
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/installed $(DATA)/interactions.parquet  ## Environment, data and pipeline: metrics, a release, recommendations
	@$(BIN)/dssm run --config $(CONFIG)
	@$(BIN)/dssm recommend --config $(CONFIG) --user $(USER_ID)

test: lint browser  ## Environment and the whole test suite
	$(PYTEST) --durations 40

unit: $(VENV)/installed  ## The unit tests, under a minute
	$(PYTEST) -m unit

integration: $(VENV)/installed browser  ## The tests with the real Transform, Beam and SavedModels
	$(PYTEST) -m integration

e2e: $(VENV)/installed  ## One run of the whole pipeline on synthetic data
	$(PYTEST) -m e2e

lint: $(VENV)/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy setup.py schemas trainer components pipeline benchmarks

browser:  ## A browser for the tests of the pages, by apt where this is Debian and root
	@environment/browser.sh

format: $(VENV)/installed  ## Let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sequence-models: $(VENV)/environment  ## RecTools, which benchmarks/quality.py trains SASRec and gSASRec by (6 GB)
	@$(UV) venv --quiet --clear --python $(BIN)/python $(SEQUENCE_VENV)
	@$(UV) pip install --quiet --python $(SEQUENCE_VENV)/bin/python --require-hashes -r environment/sequence-models.lock

lock: $(VENV)/environment  ## Pin the newest versions that environment/*.in allow
	cd environment && for name in requirements requirements-gpu requirements-dev tools sequence-models; do \
	  ../$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --override overrides.txt \
	    --python-version 3.11 $$( case $$name in requirements-*) echo "-c requirements.lock";; esac ) $$name.in -o $$name.lock; done

image:  ## The container image, by docker or podman (IMAGE=, ENGINE=, BASE_IMAGE=, GPU=1)
	@environment/build_image.sh $(IMAGE)

kubeflow-local: $(VENV)/installed $(DATA)/interactions.parquet  ## The image and the compiled pipeline, by kfp.local on docker or podman
	@environment/kubeflow_local.sh $(IMAGE) $(CONFIG) $(DATA) $(VENV)

clean:  ## Remove the environment, the data, the runs and the releases
	rm -rf $(VENV) $(SEQUENCE_VENV) build dist *.egg-info data runs serving

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

$(DATA)/interactions.parquet: | $(VENV)/installed
	@$(BIN)/dssm fetch movielens-100k
