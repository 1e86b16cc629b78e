# Verbs of the study. `make help` lists them. Everything runs in .venv, which `setup` makes and a stamp file keeps from being made twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev check test test-fast core demo ui soak slurm-test vllm-test format clean

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p) 2>/dev/null)))
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PORT ?= 5000
# An extra index with CPU wheels of torch, for Linux machines without a GPU: make setup TORCH_INDEX=<url>
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STUDY := $(BIN)/study
LAB_STAMP := $(VENV)/.lab
DEV_STAMP := $(VENV)/.dev
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.vllm
# One torch thread a process: for models this small two threads in one process are slower than one.
export OMP_NUM_THREADS ?= 1

help:
	@echo "make core              set up, run the core cells of the math grid (one seed), analyse: the main job"
	@echo "make test              set up with the development tools, run every check and test"
	@echo "make setup             the environment alone (TORCH_INDEX=<url> adds an index with CPU wheels of torch)"
	@echo "make test-fast         the tests without the slow ones: under two minutes on two cores"
	@echo "make check             ruff, format, imports, types, dependencies, every grid expands"
	@echo "make demo              a collapse and its fix in a minute (after set-up), curves drawn on the terminal"
	@echo "make table-N           table N from the committed records, in seconds      (figure-N likewise)"
	@echo "make reproduce-table-N rerun what table N needs, print ours-now beside the committed values (reproduce-figure-N likewise)"
	@echo "make soak              kill it at random, 100 times and more, and compare what comes out (about 20 minutes)"
	@echo "make slurm-test        a real Slurm of one node, as root, and what can go wrong in it (about 10 minutes)"
	@echo "make vllm-test         a CPU build of vLLM in .venv-vllm (4 GB), as teacher server, for evaluation, with seeded draws"
	@echo "make ui                MLflow on 127.0.0.1:$(PORT): the committed runs and your own (the first start writes them: 2 minutes)"

setup: $(LAB_STAMP)
setup-dev: $(DEV_STAMP)

# torch first and alone: the other packages would otherwise choose its build.
$(LAB_STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else 1)' \
	  || { echo "Python 3.11 or 3.12 is needed; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@if $(PIP) list 2>/dev/null | grep -qi '^nvidia-'; then \
	  echo "warning: a CUDA build of torch was installed (several GB of nvidia packages). On a machine without a GPU remove $(VENV)" >&2; \
	  echo "         and run: make setup TORCH_INDEX=<index with CPU wheels of torch>" >&2; fi
	$(PIP) install -q -c constraints.txt -e ".[lab]"
	$(PIP) check
	touch $@

$(DEV_STAMP): $(LAB_STAMP)
	$(PIP) install -q -c constraints.txt -e ".[lab,dev]"
	$(PIP) check
	touch $@

core: $(LAB_STAMP)
	$(STUDY) run --grid grids/math.yaml --core
	$(STUDY) analyze --grid grids/math.yaml --core --curves

# From shipped stages (results/demo-stages), checked by their hashes; `study verify --demo` makes them again.
demo: $(LAB_STAMP)
	$(BIN)/python -m study.cli.demo

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.project.circles
	$(BIN)/deptry .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(STUDY) check

test: check
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

# Without the tests marked slow and without those that need a package index.
test-fast: $(DEV_STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow and not network"

# At least 100 random kills, then 10 on a real lab cell (about 20 minutes); the records must be those of undisturbed runs.
soak: $(DEV_STAMP)
	$(BIN)/python -m tests.soak --kills 100
	$(BIN)/python -m tests.soak --kills 10 --lab

# Debian's Slurm with accounting, below a temporary folder, for as long as the tests run; as root, which installs it if it is missing.
slurm-test: $(DEV_STAMP)
	PYTHON=$(abspath $(BIN))/python tests/slurm/run.sh

$(VLLM_STAMP): pyproject.toml constraints.txt tests/vllm_cpu/setup.sh
	TORCH_INDEX=$(TORCH_INDEX) tests/vllm_cpu/setup.sh $(VLLM_VENV) "$(PYTHON)"
	touch $@

vllm-test: $(VLLM_STAMP)
	STUDY_VLLM=1 $(VLLM_VENV)/bin/python -m pytest -q tests/vllm_cpu

table-%: $(LAB_STAMP)
	@$(STUDY) table $*

figure-%: $(LAB_STAMP)
	@$(STUDY) figure $*

reproduce-table-%: $(LAB_STAMP)
	@$(STUDY) reproduce table $*

reproduce-figure-%: $(LAB_STAMP)
	@$(STUDY) reproduce figure $*

# MLflow 3 opens its GenAI view unless the address names the other one.
ui: $(LAB_STAMP)
	$(STUDY) sync-mlflow --committed
	@echo
	@echo "open  http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning"
	@echo
	$(BIN)/mlflow ui --host 127.0.0.1 --port $(PORT) --backend-store-uri sqlite:///results/mlflow.db \
	  --artifacts-destination results/mlartifacts

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf dist build .pytest_cache .ruff_cache .hypothesis
