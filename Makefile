# The tasks of the project. They need git, make and Python 3.11 or newer; they install everything else into .venv.

# Written for GNU make 3.81, which macOS still ships: no .ONESHELL, no .SHELLFLAGS.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV ?= .venv
# The first of these that is new enough is used. Another one: make PYTHON=/path/to/python3
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Only what a lock lists is installed; a package without a hash is an error.
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
# To replace the base image, or to pass flags to the engine: make image PYTHON_IMAGE=... DOCKER_BUILD_FLAGS=--network=host
PYTHON_IMAGE ?=
DOCKER_BUILD_FLAGS ?=
PYTEST_FLAGS ?=

.PHONY: help
help: ## list the targets
	@printf 'Usage: make TARGET\n\n'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target meaning; do printf '%-19s %s\n' "$$target" "$$meaning"; done

## Demonstration and measurement

.PHONY: demo
demo: $(VENV)/.project ## run agents that share one login, first without bearerd, then through it
	@$(VENV)/bin/bearerd demo

.PHONY: bench
bench: $(VENV)/.dev ## measure the cost of a request and of a streamed event, compared with nginx
	$(PY) -m benchmarks

## Tests

.PHONY: test
test: $(VENV)/.dev ## run the unit tests and the end-to-end tests, in about a minute on two cores
	$(PY) -m pytest $(PARALLEL) $(addprefix --ignore=,$(APART)) $(PYTEST_FLAGS)

.PHONY: test-wire
test-wire: $(VENV)/.dev ## test HTTP conformance on raw sockets, with both of aiohttp's parsers
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/wire
	AIOHTTP_NO_EXTENSIONS=1 $(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/wire

.PHONY: test-differential
test-differential: $(VENV)/.dev ## compare bearerd with nginx and haproxy on the same requests; needs both of them
	$(PY) -m pytest $(PYTEST_FLAGS) tests/differential

.PHONY: test-fuzz
test-fuzz: $(VENV)/.dev ## fuzz with hypothesis, and with atheris if it is installed; BEARERD_FUZZ_EXAMPLES and BEARERD_FUZZ_SECONDS extend it
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/fuzz

.PHONY: test-clients
test-clients: $(VENV)/.dev ## test with real agents and WebSocket clients, which npm and pip install
	$(PY) -m pytest $(PYTEST_FLAGS) tests/clients

.PHONY: test-chaos
test-chaos: $(VENV)/.dev ## test with killed processes, failing disks and a third-party authority; CHAOS=full runs the long form
	$(PY) -m pytest $(PYTEST_FLAGS) tests/chaos

.PHONY: test-login
test-login: $(VENV)/.dev ## test a login under attack, with servers that share no code with bearerd; needs cc, strace, nft and root
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS) tests/login

.PHONY: test-packaging
test-packaging: $(VENV)/.dev ## test the locks, the wheel and compose.yaml, and that CI runs every test
	$(PY) -m pytest -m "not (docker or index)" $(PYTEST_FLAGS) tests/packaging

.PHONY: test-install
test-install: $(VENV)/.dev ## install the wheel as a user does, alone and with the package proxy.py; needs a package index
	$(PY) -m pytest -m index $(PYTEST_FLAGS) tests/packaging

.PHONY: test-image
test-image: $(VENV)/.dev ## build the container image and run it, alone and with compose.yaml; needs a container engine
	PYTHON_IMAGE='$(PYTHON_IMAGE)' DOCKER_BUILD_FLAGS='$(DOCKER_BUILD_FLAGS)' $(PY) -m pytest -m docker $(PYTEST_FLAGS) tests/packaging

## Tests at both ends of the ranges in pyproject.toml, each in its own environment

# The newest versions are those of the development lock, not the latest on the index. `make lock LOCK_FLAGS=--upgrade` updates them in
# a separate change, so a release of another project never breaks an unrelated change.

LOWEST := RUNTIME_LOCK=requirements-lowest.lock BUILD_LOCK=requirements-lowest.lock DEV_LOCK=requirements-lowest.lock

.PHONY: test-oldest
test-oldest: ## run test and test-wire on the oldest Python found, with the lowest versions that pyproject.toml allows
	@set -eu; pythons=$$(.ci/pythons); oldest=$$(echo "$$pythons" | sed -n 1p); \
	echo "The oldest end: Python $${oldest%% *}, and the versions in requirements-lowest.lock."; \
	$(MAKE) test test-wire VENV=.venv-oldest PYTHON="$${oldest#* }" $(LOWEST)

.PHONY: test-newest
test-newest: ## run test and test-wire on the newest Python found, with the versions of the development lock
	@set -eu; pythons=$$(.ci/pythons); newest=$$(echo "$$pythons" | sed -n '$$p'); \
	if [ "$$pythons" = "$$newest" ]; then echo "Skipped: Python $${newest%% *} is the only one found, and make test runs on it."; exit 0; fi; \
	echo "The newest end: Python $${newest%% *}, and the versions in requirements-dev.lock."; \
	$(MAKE) test test-wire VENV=.venv-newest PYTHON="$${newest#* }"

## Coverage, lint, format, image

.PHONY: coverage
coverage: $(VENV)/.dev ## what test covers, with the lines and branches that no test takes; fails below the floor in pyproject.toml
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest $(PARALLEL) $(addprefix --ignore=,$(APART)) $(PYTEST_FLAGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: lint
lint: $(VENV)/.dev ## run ruff, mypy --strict and import-linter
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy $(SOURCES)
	$(VENV)/bin/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.dev ## format the code
	$(PY) -m ruff check --fix --exit-zero --quiet
	$(PY) -m ruff format

.PHONY: image
image: ## build the container image
	docker build $(DOCKER_BUILD_FLAGS) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

.PHONY: clean
clean: ## remove the environments and all generated files
	rm -rf $(VENV) .venv-oldest .venv-newest build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

## The environment, in three steps: the locked packages, the project, the tools

$(VENV)/.runtime: $(RUNTIME_LOCK) $(BUILD_LOCK)
	@$(find_python); echo "Making $(VENV) with $$($$python --version)."; $$python -m venv --clear $(VENV)
	@$(INSTALL) $(RUNTIME_LOCK) --requirement $(BUILD_LOCK)
	@touch $@

# Editable, so that the command runs the current code; with the locked build backend, so that nothing is downloaded.
$(VENV)/.project: $(VENV)/.runtime pyproject.toml proxy/bearerd/__init__.py
	@$(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.project $(DEV_LOCK)
	@echo "Adding the tools to $(VENV)."
	@$(INSTALL) $(DEV_LOCK)
	@touch $@

# A command may exist and not run (pyenv's shims), and Debian's Python lacks ensurepip, so each candidate is tried.
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

## The locks: for every platform and every Python from 3.11, with hashes, without the address of an index

UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_FLAGS)

# uv does not read pip's settings, so the index in them is passed to it.
.PHONY: lock
lock: $(VENV)/.project ## regenerate the locks from pyproject.toml; LOCK_FLAGS=--upgrade takes newer versions
	@$(PIP) install uv==$(UV_VERSION)
	@set -eu; index=$${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null || true)}; \
	if [ -n "$$index" ]; then UV_DEFAULT_INDEX=$$index; export UV_DEFAULT_INDEX; fi; \
	$(UV_COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock; \
	$(UV_COMPILE) pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock; \
	$(UV_COMPILE) --group build --constraint requirements-dev.lock --output-file requirements-build.lock; \
	$(UV_COMPILE) pyproject.toml --group test --resolution lowest-direct --output-file requirements-lowest.lock; \
	for suite in clients packaging; do $(UV_COMPILE) tests/$$suite/requirements.in --output-file tests/$$suite/requirements.lock; done
