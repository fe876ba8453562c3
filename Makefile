# One command for each thing; `make` alone lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .make
UV ?= uv
FOCUS_PYTHON ?=

# Handed on to `make run`: STORE_URL=firestore://demo-modeltrack, UPSTREAM=real, other ports, any setting.
export

.PHONY: help setup setup-browser run test screenshots proof soak battery mutants behind-nginx focus infra fuzz audit modules check format bench memory prices passwords vendor lock pin-images images clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMPS)/dev ## Make .venv and install everything, checked against the hashes in requirements/

run: $(STAMPS)/run ## Start proxy, API and the demo provider on this machine (UPSTREAM=real, STORE_URL=…)
	@exec $(BIN)/python -m demo.run

setup-browser: $(STAMPS)/dev ## Install Chromium for the tests of the pages (Debian, as root; else it says what to install)
	@for each in chromium chromium-browser google-chrome; do command -v $$each >/dev/null && exit 0; done; \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			|| { echo "Chromium is missing: install it (Debian: apt-get install chromium)" >&2; exit 1; }; \
		echo "installing Debian's chromium"; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq >/dev/null \
			&& apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null

test: check ## Run every check and every test
	@$(MAKE) setup-browser || true
	@$(MAKE) -q $(STAMPS)/focus/installed 2>/dev/null || .ci/focus || true
	@.ci/infra || true
	@.ci/audit install || true
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

screenshots: setup-browser ## Take pictures of every page in light, dark and phone width (PAGES='overview keys')
	@$(BIN)/python -m tests.browser.screenshots $(PAGES)

proof: $(STAMPS)/dev ## Prove at full size that no call is lost, whatever dies; prints the counts (10 minutes)
	@PROOF=full $(BIN)/python -m pytest -n 0 tests/system/test_nothing_lost.py tests/system/test_store_outage.py

soak: $(STAMPS)/dev ## Run everything for long under mixed faults, then check all books; draws memory (MINUTES=30 SEED=… STORE=sqlite RATE=30)
	@$(BIN)/python -m tests.system.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(STORE),--store $(STORE)) $(if $(RATE),--calls-per-second $(RATE)) $(if $(OUT),--out $(OUT))

battery: setup-browser ## Run the acceptance battery at full size, and write what came of it into docs/battery.md (40 minutes)
	@$(BIN)/python -m tests.battery
	@PROOF=full $(BIN)/python -m pytest -n 2 --dist loadgroup -m "battery or battery_class" --battery-table tests

mutants: $(STAMPS)/dev ## Break each law on purpose, see a test turn red, and write which into docs/battery.md (10 minutes)
	@$(BIN)/python -m tests.mutations

behind-nginx: $(STAMPS)/dev ## Run the system tests through nginx before two proxies and two APIs (10 minutes)
	@DEPLOYMENT=behind-nginx $(BIN)/python -m pytest -n 2 --dist loadgroup tests/system

focus: $(STAMPS)/dev $(STAMPS)/focus/installed ## Have focus-validator judge the FOCUS export; `make test` does, too
	@$(BIN)/python -m pytest -n 0 -rs tests/services/api/test_focus_validator.py

infra: $(STAMPS)/dev ## Check infra/: layout, the provider's schema, references, policy, checkov; `make test` does, too
	@.ci/infra
	@$(BIN)/python -m tests.infra.lint
	@$(BIN)/python -m pytest -n 0 -rs tests/infra

audit: $(BIN)/python ## Ask whether weaknesses of locked packages are known; fails where it cannot ask
	@.ci/audit

fuzz: $(STAMPS)/dev ## Look for input that breaks a reader of foreign bytes (6 minutes; FUZZ_SECONDS=600 TARGETS=http_requests)
	@.ci/fuzz
	@.make/fuzz/bin/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),60) $(TARGETS)

modules: ## Say in a line what each module is
	@find metering proxy_service api_service modeltrack_cli -name '*.py' ! -name '__init__.py' | sort \
		| xargs awk 'FNR == 1 { gsub(/"""/, ""); printf "%-45s %s\n", FILENAME, $$0; nextfile }'

check: $(STAMPS)/dev ## Check formatting, lint, types, import contracts; look for unsafe code (bandit) and secrets
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .make/imports || (cat .make/imports; exit 1)
	@$(MAKE) $(STAMPS)/bandit
	@$(BIN)/python -m tests.secrecy.scan

format: $(STAMPS)/dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

bench: $(STAMPS)/dev ## Measure speed beside nginx, Portkey and LiteLLM, starts of the images, statistics and pages as events grow (half an hour)
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.cold_start
	@$(BIN)/python -m bench.statistics
	@$(BIN)/python -m bench.firestore_operations
	@$(BIN)/python -m bench.fleet
	@$(BIN)/python -m bench.cost
	@$(BIN)/python -m bench.pages

memory: $(STAMPS)/dev ## Show what a million calls, and bodies of 500 MB, leave behind in the proxy's memory (6 minutes)
	@$(BIN)/python -m bench.memory

prices: $(STAMPS)/dev ## Compile the price table from the pinned price list and our overlay
	@$(BIN)/python -m metering.price_compiler

passwords: $(STAMPS)/dev ## Compile the list of passwords that are guessed first
	@$(BIN)/python .ci/compile_passwords.py

vendor: $(STAMPS)/dev ## Fetch the dashboard's pinned scripts again (needs npm)
	@$(BIN)/python -m api_service.dashboard.vendoring

lock: ## Resolve requirements/*.in into the hash-locked *.txt (needs uv)
	@cd requirements && $(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header -q run.in -o run.txt
	@cd requirements && for each in dev proxy api; do \
		$(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header -q $$each.in -o $$each.txt -c run.txt || exit 1; done
	@cd requirements && $(UV) pip compile --generate-hashes --universal --python-version 3.12 --no-header -q focus.in -o focus.txt
	@cd requirements && $(UV) pip compile --generate-hashes --no-deps --universal --python-version 3.12 --no-header -q focus-validator.in -o focus-validator.txt
	@cd requirements && $(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header -q checkov.in -o checkov.txt
	@cd requirements && $(UV) pip compile --generate-hashes --no-deps --universal --python-version 3.11 --no-header -q common-passwords.in -o common-passwords.txt
	@cd requirements && $(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header -q audit.in -o audit.txt
	@cd requirements && $(UV) pip compile --generate-hashes --no-deps --universal --python-version 3.11 --no-header -q terraform-schema.in -o terraform-schema.txt
	@cd requirements && $(UV) pip compile --generate-hashes --universal --python-version 3.11 --no-header -q fuzz.in -o fuzz.txt -c run.txt

pin-images: $(STAMPS)/run ## Look up the digests of requirements/images.in at their registries, for images.txt and cloudbuild.yaml
	@$(BIN)/python .ci/pin_images.py && $(BIN)/python -m infra.release write-pins

images: ## Build both images, modeltrack-proxy and modeltrack-api (needs docker and `make pin-images`)
	@base=$$(.ci/base-image python) && for each in proxy api; do \
		docker build -q -t modeltrack-$$each --build-arg PYTHON_IMAGE="$$base" \
			--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null)" -f $${each}_service/Dockerfile . || exit 1; done

clean: ## Remove what the tools left behind (not .venv, not ./data)
	@rm -rf .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 or newer is needed: install it, or say where it is with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

$(STAMPS)/run: requirements/run.txt | $(BIN)/python
	@echo "installing requirements/run.txt into .venv"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/run.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/run
	@echo "installing requirements/dev.txt into .venv"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@mkdir -p $(STAMPS) && touch $@

# Looks again once some file has changed. What runs on a developer's machine alone starts programs and invents figures.
$(STAMPS)/bandit: pyproject.toml $(STAMPS)/dev $(shell find metering proxy_service api_service modeltrack_cli infra/release .ci demo bench -name '*.py')
	@$(BIN)/bandit -c pyproject.toml -q -r metering proxy_service api_service modeltrack_cli infra/release .ci > $@.found 2> $@.log \
		&& $(BIN)/bandit -c pyproject.toml -q -r demo bench -s B101,B105,B310,B311,B404,B603,B607 > $@.found 2> $@.log \
		|| { grep -v WARNING $@.log; cat $@.found; exit 1; }
	@touch $@

$(STAMPS)/focus/installed: requirements/focus.txt requirements/focus-validator.txt
	@.ci/focus
