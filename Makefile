# `make` lists the targets. Everything runs in .venv, which is made and refreshed as needed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.installed
AUDIT := build/audit
FLOORS := build/floors

.PHONY: help setup demo test test-fast faults cluster fuzz lint types docs sweep report retime verify bench lock test-floors audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(SETUP) ## install the locked dependencies into .venv (again only when they changed)

$(SETUP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
	@echo 'Ready. Next: make demo; or source .venv/bin/activate, then python -m harness'

demo: $(SETUP) ## the whole job on bundled images and weights: three backbones, three depths, a report
	$(BIN)/python -m harness.sweep experiment=demo

test: $(SETUP) ## run the tests, two files at a time, a thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(SETUP) ## run the tests of single parts that take no longer than a few seconds each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/unit -m 'not slow and not faults and not browser'

faults: $(SETUP) ## inject every fault for real and write the table of docs/reliability.md
	$(BIN)/python -m tests.faults --write

cluster: $(SETUP) ## run sweeps on a real Slurm and a real Ray, which are installed first (needs root and a Debian)
	{ command -v slurmctld && command -v munged; } > /dev/null || apt-get install -y --no-install-recommends slurm-wlm munge
	$(BIN)/python -c 'import ray' 2> /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[ray]
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster -m cluster

fuzz: $(SETUP) ## throw rubbish at everything that reads, for about a quarter of an hour
	HARNESS_FUZZ_FACTOR=50 $(BIN)/python -m pytest $$(grep -rl --include='*.py' 'import examples' tests)

lint: $(SETUP) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(SETUP) ## check types
	$(BIN)/mypy

docs: $(SETUP) ## build the documentation site into build/site; every warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/site

sweep: $(SETUP) ## run a sweep: make sweep ARGS="backbone=resnet50 data=folder data.root=photos"
	$(BIN)/python -m harness.sweep $(ARGS)

report: $(SETUP) ## rank a study again, by default the one swept last: make report ARGS="study=demo rank.max_latency_ms=30"
	$(BIN)/python -m harness.report $(ARGS)

retime: $(SETUP) ## time the models of a study again: make retime ARGS="study=demo"
	$(BIN)/python -m harness.retime $(ARGS)

verify: $(SETUP) ## check a study bit by bit: make verify ARGS="study=demo"
	$(BIN)/python -m harness.verify $(ARGS)

bench: $(SETUP) ## time the harness against other ways (benchmarks/)
	$(BIN)/python -m benchmarks

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --extra demo --extra dev --no-annotate --no-header --upgrade pyproject.toml -o requirements.lock
	sed -i '1i # Exact versions for `make setup`; written by `make lock` from pyproject.toml with the extras demo and dev.' requirements.lock

test-floors: ## run the job with every direct dependency at its lowest version: make test-floors PYTHON=python3.13 (needs uv)
	uv venv --quiet --clear --python $(PYTHON) $(FLOORS)
	uv pip compile --quiet --python $(FLOORS)/bin/python --resolution lowest-direct --only-binary :all: \
		--no-binary antlr4-python3-runtime --extra demo --no-annotate --no-header pyproject.toml -o $(FLOORS)/floors.txt
	uv pip install --quiet --python $(FLOORS)/bin/python -r $(FLOORS)/floors.txt
	$(FLOORS)/bin/python -m tests.floors $(FLOORS)/results

audit: ## look up known vulnerabilities of the locked packages (needs the package index)
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(AUDIT)/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict $(ARGS)

clean: ## delete caches and build output; never touches results/
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
