# The same commands for people and for CI. Needed before: Python 3.11 or newer, and make.
#
#   make test ARGS='-k rotation -x'     hands arguments to pytest
#   make test PYTHON=python3.12         picks the interpreter; `make clean` first if .venv is of another one
#   make faults ARGS='F1 F2'            makes these faults only; --list shows them all
#   make bench TOPIC=throughput         runs one topic; ARGS='--only structlog --rounds 3' goes to it

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TOPIC ?= $(sort $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py)))

# The first that can be used; if none can, python3, for it to say why.
ifndef PYTHON
PYTHON = $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(if $(shell $(name) scripts/check_python.py >/dev/null 2>&1 && echo yes),$(name))) python3)
endif

PARTS := --ignore=tests/system --ignore=tests/faults  # without the tests of whole programs, which take their time
WHEEL := $(addprefix tests/,test_public_api.py test_examples.py test_docs.py test_handlers.py test_session.py cli config settings)

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test test-system coverage lint format types bench bench-quick bench-report faults faults-report docs test-all-pythons wheel-test check clean
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:  # tests that measure time want the machine for themselves

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-26s%s\n", $$1, $$2}'

demo: $(VENV)/.demo  ## a chat server, 20 clients, and the logs of their sessions
	@$(BIN)/python examples/demo.py

test: $(VENV)/.tools  ## the tests, but for those of whole programs
	@$(BIN)/python -P -m pytest $(PARTS) $(ARGS)

test-system: $(VENV)/.tools  ## the tests of whole programs: processes, servers, signals, full disks
	@$(BIN)/python -P -m pytest tests/system tests/faults $(ARGS)

coverage: $(VENV)/.tools  ## the tests, and which lines they leave out
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage report

lint: $(VENV)/.tools  ## ruff: faults and format
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "Some files are out of shape: make format"; exit 1; }

format: $(VENV)/.tools  ## bring the code into shape
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet

types: $(VENV)/.tools  ## mypy --strict on the package and on code that uses it
	@$(BIN)/mypy

bench: $(VENV)/.bench  ## how fast it is, beside other loggers and the least that it can cost
	@for topic in $(TOPIC); do $(BIN)/python benchmarks/bench_$$topic.py $(ARGS) || exit 1; echo; done

bench-quick: $(VENV)/.bench  ## the benchmarks with tiny sizes: whether every line lands, and no times
	@for topic in $(TOPIC); do $(BIN)/python benchmarks/bench_$$topic.py --quick $(ARGS) || exit 1; echo; done

bench-report: $(VENV)/.tools  ## write the results of the benchmarks into the documentation
	@$(BIN)/python benchmarks/report.py $(ARGS)

faults: $(VENV)/.tools  ## make every fault of the promises, and count what is lost; needs root and strace for all of it
	@PYTHONPATH=tests:benchmarks $(BIN)/python -m faults $(ARGS)

faults-report: $(VENV)/.tools  ## write the results of a whole run of the faults into the documentation
	@PYTHONPATH=tests:benchmarks $(BIN)/python -m faults --json tests/faults/results.json $(ARGS)
	@PYTHONPATH=tests:benchmarks $(BIN)/python -m faults.report

docs: $(VENV)/.tools  ## the tests of the documentation
	@$(BIN)/python -P -m pytest tests/test_docs.py $(ARGS)

test-all-pythons: $(VENV)/.tools  ## the tests on every CPython 3.11, 3.12 and 3.13 of this machine
	@$(BIN)/python scripts/test_all_pythons.py -- $(ARGS)

wheel-test: $(VENV)/.tools  ## what a wheel may lack, and the tests of all that users name, on the built wheel
	@$(BIN)/python scripts/test_wheel.py $(WHEEL) $(ARGS)

check: lint types docs test test-system wheel-test bench-quick  ## all that CI runs, but for the faults
	@$(BIN)/python scripts/test_all_pythons.py --except $(BIN)/python -- $(ARGS)

clean:  ## remove what the commands above made
	@rm -rf $(VENV) .venvs build dist demo-logs .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage *.egg-info

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) scripts/check_python.py
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.demo: setup.cfg | $(BIN)/python
	@echo "Installing the package and what it needs"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.tools: setup.cfg | $(BIN)/python
	@echo "Installing the package and its tools for development"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: setup.cfg | $(BIN)/python
	@echo "Installing the package, its tools for development, and what it is compared with"
	@$(PIP) install --editable '.[dev,bench]'
	@touch $@ $(VENV)/.tools $(VENV)/.demo
