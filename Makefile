# Every target does its own set-up; it needs Python 3.11 or newer, make and a package index.
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
TORCH ?= torch==2.13.0
FUZZ_SECONDS ?= 60
VENV := .venv
DEMO := .venv-demo
WORDS := install --quiet --disable-pip-version-check
PIP := -m pip $(WORDS)
FRAMEWORKS := $(basename $(notdir $(wildcard tests/frameworks/requirements/*.txt)))
SOURCES := $(shell find cas cli -name '*.py')

.PHONY: crash demo test test-browser test-frameworks check bench docs fuzz clean

demo: $(DEMO)/.installed
	@$(DEMO)/bin/python examples/demo.py

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -q -n 2 --dist worksteal

# The adapters with the real frameworks, each in an environment of its own, made once: what
# tests/frameworks/requirements/NAME.txt lists runs tests/frameworks/test_NAME.py.
test-frameworks: $(FRAMEWORKS:%=test-framework-%)

test-framework-%: build/frameworks/%/.installed
	PYTHONDONTWRITEBYTECODE= build/frameworks/$*/bin/python -m pytest -q tests/frameworks/test_$*.py

# The pages in a real Chromium, which is installed where it is missing and we may. Screenshots go to
# build/screenshots.
test-browser: $(VENV)/.browser
	.ci/chromium
	$(VENV)/bin/python -m pytest -q tests/browser

check: $(VENV)/.check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	rm -rf build/wheel
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(VENV)/bin/check-wheel-contents build/wheel
	.ci/smoke $(PYTHON) build/wheel/*.whl

# The pages that are made from the commands and from the schemas of their answers.
docs: $(VENV)/.check
	$(VENV)/bin/python docs/commands.py
	$(VENV)/bin/python docs/json_page.py

# Makes its own environment in bench/.cache, installs the peers it can, trains what it measures,
# takes most of an hour, and writes docs/benchmarks.md and its plots.
bench:
	$(PYTHON) -m bench --plots

# A minute for each parser; FUZZ_SECONDS=3600 for an hour.
fuzz: $(VENV)/.test $(VENV)/.fuzz
	set -e; for target in $(notdir $(wildcard fuzz/corpus/*)); do \
		$(VENV)/bin/python fuzz/run.py $$target -max_total_time=$(FUZZ_SECONDS); done

# Every crash state of three commands, every failing call, every flipped bit, every order of steps of
# the collection protocol, 20,000 power cuts (these as root): an hour and more.
crash: $(VENV)/.test
	MSTORE_CRASH_DEPTH=3 MSTORE_THOROUGH=1 MSTORE_SECONDS=300 \
		$(VENV)/bin/python -m pytest -q -n 2 --dist worksteal \
			tests/crash tests/faults tests/model tests/planted tests/unit/planner
	$(VENV)/bin/python -m tests.crash.powercut --cuts 20000

clean:
	rm -rf $(VENV) $(DEMO) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A plain installation, as a user has it, made again when the sources change.
$(DEMO)/.installed: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP) .
	touch $@

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

# The CPU build of torch comes first: left to itself, pip takes the one with CUDA.
$(VENV)/.test: pyproject.toml $(VENV)/.made
	$(VENV)/bin/python $(PIP) '$(TORCH)'
	$(VENV)/bin/python $(PIP) --editable '.[test]'
	touch $@

# As in .test, torch comes first, where it is asked for at all. Python compiles what is imported, the
# first time it is: to compile all modules takes nearly as long as to install them. One pip does for
# all; to give each environment its own takes longer than to make the environment.
build/frameworks/%/.installed: tests/frameworks/requirements/%.txt pyproject.toml $(VENV)/.made
	$(PYTHON) -m venv --without-pip build/frameworks/$*
	if grep -q '^torch$$' $<; then $(VENV)/bin/python -m pip --python build/frameworks/$* \
		$(WORDS) --no-compile '$(TORCH)'; fi
	$(VENV)/bin/python -m pip --python build/frameworks/$* \
		$(WORDS) --no-compile --requirement $< --editable '.[test]'
	touch $@

$(VENV)/.check: pyproject.toml $(VENV)/.made
	$(VENV)/bin/python $(PIP) --editable '.[check]'
	touch $@

$(VENV)/.browser: pyproject.toml $(VENV)/.test
	$(VENV)/bin/python $(PIP) --editable '.[browser]'
	touch $@

$(VENV)/.fuzz: pyproject.toml $(VENV)/.made
	$(VENV)/bin/python $(PIP) --editable '.[fuzz]'
	touch $@
