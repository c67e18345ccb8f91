# SecureCart: everything a fresh machine needs is done by `make up` and `make test`.

# The first that really runs and is new enough: a name on PATH may be a shim with nothing behind it.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup up down test lint bench lock browser etcd

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.fetched ## Make .venv with everything in it, and fetch what npm brings; offline the second time

up: setup ## Start the engines and the shop, filled with the demo catalogue the first time
	$(BIN)/securecart up --demo

down: setup ## Stop everything; the data is kept
	$(BIN)/securecart down

test: setup browser etcd lint ## Lint, check types and imports, run every test
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder # two files at a time: many tests wait

lint: setup ## Ruff, mypy and import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup ## Run every bench (but the long one) against a shop that is up
	for name in lookup search cart checkout; do $(BIN)/securecart bench $$name || exit 1; done

lock: .uv-is-there ## Pin the newest allowed versions with their hashes
	for extra in base demo fraud dev; do \
	  $(UV) pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	    $$([ $$extra = base ] || echo --extra $$extra) $$([ $$extra = dev ] && echo --extra demo --extra fraud) \
	    pyproject.toml -o requirements/$$extra.txt || exit 1; \
	done
	for tool in uv node; do \
	  $(UV) pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	    requirements/$$tool.in -o requirements/$$tool.txt || exit 1; \
	done

browser: # the browser test needs Debian's Chromium; without it, it is skipped and says so
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium for the browser test"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core) \
	    >/dev/null 2>&1 || echo "Chromium could not be installed; the browser test will be skipped"; \
	fi

# Unpacked beside the tests' Python, not installed: Debian's package would start a service that nobody asked for.
etcd: setup # the test of a cluster whose nodes agree in etcd needs Debian's etcd-server; without it, it is skipped and says so
	@if ! command -v etcd >/dev/null && [ ! -x .venv/etcd/usr/bin/etcd ] && command -v apt-get >/dev/null; then \
	  echo "fetching etcd for the cluster's test"; \
	  mkdir -p .venv/etcd && cd .venv/etcd && { [ "$$(id -u)" != 0 ] || apt-get update -qq >/dev/null 2>&1; \
	  apt-get download -qq etcd-server >/dev/null 2>&1 && dpkg-deb -x etcd-server_*.deb . && rm etcd-server_*.deb; } \
	    || echo "etcd could not be fetched; its test will be skipped"; \
	fi

.PHONY: .uv-is-there
.uv-is-there: # uv, in the project's own folder where the machine has none
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@$(UV) --version >/dev/null 2>&1 || { \
	  echo "fetching uv into .uv"; \
	  $(PYTHON) -m venv .uv 2>/dev/null || { rm -rf .uv; $(PYTHON) -m venv --without-pip .uv && $(PYTHON) -m pip --version >/dev/null; } \
	    || { echo "Python's venv or pip module is missing: apt-get install python3-venv"; exit 1; }; \
	  if [ -x .uv/bin/pip ]; then .uv/bin/pip install -q --require-hashes -r requirements/uv.txt; \
	  else $(PYTHON) -m pip --python .uv/bin/python install -q --require-hashes -r requirements/uv.txt; fi; }

.venv/.installed: requirements/dev.txt pyproject.toml
	@$(MAKE) --no-print-directory .uv-is-there
	$(UV) venv -q --allow-existing --python $(PYTHON) .venv
	$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

.venv/.fetched: .venv/.installed src/securecart/downloads.py requirements/node.txt
	@command -v npm >/dev/null || { $(MAKE) --no-print-directory .uv-is-there && \
	  $(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements/node.txt; }
	$(BIN)/securecart fetch
	@touch $@
