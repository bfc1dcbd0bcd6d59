# bearerd's tasks. They need git, make and a Python of at least 3.11; everything else goes into .venv, which they make themselves.

# Written for GNU make 3.81, which macOS still ships: no .ONESHELL, no .SHELLFLAGS.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV ?= .venv
# The first of these that is new enough makes the environment: make PYTHON=/path/to/python3 names one.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Nothing is installed that no lock names: a package without a hash is an error.
INSTALL := $(PIP) install --require-hashes --requirement
SOURCES := $(wildcard proxy tests benchmarks)
# The locks of an environment, in the order in which they are installed.
RUNTIME_LOCK ?= requirements.lock
BUILD_LOCK ?= requirements-build.lock
DEV_LOCK ?= requirements-dev.lock
# Suites with a target of their own, because they take minutes or need other programs. `make test` runs every other folder of tests/.
APART := tests/chaos tests/clients tests/differential tests/fuzz tests/login tests/packaging tests/wire
# As many processes as there are cores. Each imports all the tests, so more than eight cost more than they save.
WORKERS ?= auto
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
UV_VERSION := 0.13.8
IMAGE ?= bearerd:local
# The base image and the engine's flags, where the defaults do not suit: make image PYTHON_IMAGE=... DOCKER_BUILD_FLAGS=--network=host
PYTHON_IMAGE ?=
DOCKER_BUILD_FLAGS ?=
PYTEST_FLAGS ?=

.PHONY: help
help: ## list these targets
	@printf 'Usage: make TARGET\n\n'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target meaning; do printf '%-19s %s\n' "$$target" "$$meaning"; done

## Seeing it

.PHONY: demo
demo: $(VENV)/.project ## agents that share one login, first without bearerd, then through it
	@$(VENV)/bin/bearerd demo

.PHONY: bench
bench: $(VENV)/.dev ## what a request and a streamed event cost, beside nginx
	$(PY) -m benchmarks

## Working on it

.PHONY: test
test: $(VENV)/.dev ## the unit suites and the paths through a whole daemon, in about a minute on two cores
	$(PY) -m pytest $(PARALLEL) $(addprefix --ignore=,$(APART)) $(PYTEST_FLAGS)

.PHONY: test-wire
test-wire: $(VENV)/.dev ## HTTP conformance on raw sockets, with both of aiohttp's parsers
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/wire
	AIOHTTP_NO_EXTENSIONS=1 $(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/wire

.PHONY: test-differential
test-differential: $(VENV)/.dev ## the same bytes through bearerd, nginx and haproxy; needs both of them
	$(PY) -m pytest $(PYTEST_FLAGS) tests/differential

.PHONY: test-fuzz
test-fuzz: $(VENV)/.dev ## hypothesis, and atheris where it is installed; BEARERD_FUZZ_EXAMPLES and BEARERD_FUZZ_SECONDS make it longer
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/fuzz

.PHONY: test-clients
test-clients: $(VENV)/.dev ## real agents and WebSocket stacks through a real bearerd; installs them with npm and pip
	$(PY) -m pytest $(PYTEST_FLAGS) tests/clients

.PHONY: test-chaos
test-chaos: $(VENV)/.dev ## killed processes, failing disks, a foreign authority; CHAOS=full for the long form
	$(PY) -m pytest $(PYTEST_FLAGS) tests/chaos

.PHONY: test-login
test-login: $(VENV)/.dev ## attacks on a login, by an authority that shares no code with bearerd; all of them need cc, strace, nft and root
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/login

.PHONY: test-packaging
test-packaging: $(VENV)/.dev ## the locks, the wheel, compose.yaml, and that CI runs every test
	$(PY) -m pytest -m "not (docker or index)" $(PYTEST_FLAGS) tests/packaging

.PHONY: test-install
test-install: $(VENV)/.dev ## the wheel installed as a user does it, and beside the package proxy.py; needs a package index
	$(PY) -m pytest -m index $(PYTEST_FLAGS) tests/packaging

.PHONY: test-image
test-image: $(VENV)/.dev ## build the container image, run it, and run compose.yaml; needs a container engine
	PYTHON_IMAGE='$(PYTHON_IMAGE)' DOCKER_BUILD_FLAGS='$(DOCKER_BUILD_FLAGS)' $(PY) -m pytest -m docker $(PYTEST_FLAGS) tests/packaging

## Both ends of the ranges in pyproject.toml, each in an environment of its own

# The newest versions are those of the development lock, and not what an index has today: `make lock LOCK_FLAGS=--upgrade` moves them in
# a change of its own, so a release of another project never breaks an unrelated change.

LOWEST := RUNTIME_LOCK=requirements-lowest.lock BUILD_LOCK=requirements-lowest.lock DEV_LOCK=requirements-lowest.lock

.PHONY: test-oldest
test-oldest: ## test and test-wire on the oldest Python found, with the lowest versions that pyproject.toml allows
	@set -eu; pythons=$$(.ci/pythons); oldest=$$(echo "$$pythons" | sed -n 1p); \
	echo "The oldest end: Python $${oldest%% *}, and the versions in requirements-lowest.lock."; \
	$(MAKE) test test-wire VENV=.venv-oldest PYTHON="$${oldest#* }" $(LOWEST)

.PHONY: test-newest
test-newest: ## test and test-wire on the newest Python found, with the versions of the development lock
	@set -eu; pythons=$$(.ci/pythons); newest=$$(echo "$$pythons" | sed -n '$$p'); \
	if [ "$$pythons" = "$$newest" ]; then echo "Skipped: Python $${newest%% *} is the only one found, and make test runs on it."; exit 0; fi; \
	echo "The newest end: Python $${newest%% *}, and the versions in requirements-dev.lock."; \
	$(MAKE) test test-wire VENV=.venv-newest PYTHON="$${newest#* }"

## Measuring and formatting

.PHONY: coverage
coverage: $(VENV)/.dev ## what test covers, with the lines and branches that no test takes
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest $(PARALLEL) $(addprefix --ignore=,$(APART)) $(PYTEST_FLAGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: lint
lint: $(VENV)/.dev ## ruff, mypy --strict and the order of the rooms
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy $(SOURCES)
	$(VENV)/bin/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.dev ## write the code as the formatter has it
	$(PY) -m ruff check --fix --exit-zero --quiet
	$(PY) -m ruff format

.PHONY: image
image: ## build the container image
	docker build $(DOCKER_BUILD_FLAGS) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

.PHONY: clean
clean: ## remove what these tasks have made
	rm -rf $(VENV) .venv-oldest .venv-newest build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

## The environment, in three steps: the locked packages, the project, the tools

$(VENV)/.runtime: $(RUNTIME_LOCK) $(BUILD_LOCK)
	@$(find_python); echo "Making $(VENV) with $$($$python --version)."; $$python -m venv --clear $(VENV)
	@$(INSTALL) $(RUNTIME_LOCK) --requirement $(BUILD_LOCK)
	@touch $@

# Editable, so that the command runs the code as it is; with the locked build backend, so that nothing is fetched.
$(VENV)/.project: $(VENV)/.runtime pyproject.toml proxy/bearerd/__init__.py
	@$(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.project $(DEV_LOCK)
	@echo "Adding the tools to $(VENV)."
	@$(INSTALL) $(DEV_LOCK)
	@touch $@

# A command of the right name may exist and still not run (pyenv's shims), and Debian's Python comes without ensurepip: so each is tried.
define find_python
set -eu; python=; \
for candidate in $(PYTHON); do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "bearerd needs Python 3.11 or newer, and none of these is: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
fi; \
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
  echo "$$($$python --version) cannot make a virtual environment, since its venv module is packaged apart. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
fi
endef

## The locks: every platform and every Python from 3.11, with hashes, and no registry's address

UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_FLAGS)

# uv does not read pip's settings: it is told which index they name, if they name one.
.PHONY: lock
lock: $(VENV)/.project ## write the locks anew from pyproject.toml; LOCK_FLAGS=--upgrade takes newer versions
	@$(PIP) install uv==$(UV_VERSION)
	@set -eu; index=$${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null || true)}; \
	if [ -n "$$index" ]; then UV_DEFAULT_INDEX=$$index; export UV_DEFAULT_INDEX; fi; \
	$(UV_COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock; \
	$(UV_COMPILE) pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock; \
	$(UV_COMPILE) --group build --constraint requirements-dev.lock --output-file requirements-build.lock; \
	$(UV_COMPILE) pyproject.toml --group test --resolution lowest-direct --output-file requirements-lowest.lock; \
	for suite in clients packaging; do $(UV_COMPILE) tests/$$suite/requirements.in --output-file tests/$$suite/requirements.lock; done
