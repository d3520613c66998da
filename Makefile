# Every target has its line in `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs the locked set in seconds, with the certificates of the system: a proxy may inspect TLS. pip, which reads the
# machine's own pip configuration, is the fallback.
.build-venv:
	@echo "Installing the locked requirements into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt \
	  2>$(VENV)/uv.log || { echo "uv could not install them ($(VENV)/uv.log says why); pip does, which takes a minute" \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt; }
	@touch $(VENV)/.installed

# A rebuild empties .venv, so it waits until no stack runs from it.
$(VENV)/.installed: requirements/dev.txt requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -m local.venv_lock rebuild $@ $^ -- $(MAKE) --no-print-directory .build-venv

install: $(VENV)/.installed ## Make .venv from the locked requirements

run: $(VENV)/.installed ## Run everything on this machine, supervised; Ctrl-C stops it
	@exec $(BIN)/python -m local run

console: $(VENV)/.installed ## Print a link that signs in to the console of the running stack, once
	@$(BIN)/python -m local console

demo: $(VENV)/.installed ## Run it all, sign up a handful of people, show both books, stop
	@$(BIN)/python -m local demo

check: $(VENV)/.installed ## Lint, formatting, strict types, architecture contracts, valid OpenAPI documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.openapi

test: $(VENV)/.installed ## Run the tests on embedded PostgreSQL and Valkey
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

# npx fetches the linters, once. Node.js 22 or newer is what they ask for.
openapi-lint: $(VENV)/.installed ## Lint both OpenAPI documents with Redocly and Spectral (needs npm; docs/openapi.md)
	$(BIN)/python -m tests.openapi
	tests/openapi/lint

# Generators go to var/openapi-clients, once.
openapi-clients: $(VENV)/.installed ## Generate clients in Python and TypeScript, and run them (needs npm; docs/openapi.md)
	$(BIN)/python -m pytest tests/openapi/python_client.py tests/openapi/typescript_client.py

# Pictures go to SCREENSHOTS, var/pages unless said, and those of the console beside it: docs/pages and docs/console have
# them. AXE names axe-core's axe.min.js; without it npm fetches it, once.
browser-test: $(VENV)/.installed ## Drive the pages, the example form, the console and /docs in Chromium (needs chromium and npm)
	SCREENSHOTS=$(or $(SCREENSHOTS),var/pages) $(BIN)/python -m pytest tests/browser/verification_pages.py \
	  tests/browser/own_brand.py tests/browser/example_form.py tests/browser/console_pages.py tests/browser/console_story.py \
	  tests/browser/docs_page.py

monitoring-test: $(VENV)/.installed ## Ask a real Prometheus every query of deploy/monitoring (needs prometheus)
	$(BIN)/python -m pytest tests/monitoring/monitoring_files.py

# EXIM names its executable: Debian's package cannot be installed beside Postfix's (tests/daemons/programs.py).
daemon-test: $(VENV)/.installed ## Bring bounces back with a real Postfix, Exim and Dovecot (needs them, and root)
	$(BIN)/python -m pytest tests/daemons/bounces_come_back.py

# Needs git's history, down to the commit of version 0.1.0.
upgrade-test: $(VENV)/.installed ## Upgrade from 0.1.0 under load, both versions side by side (needs git's history)
	$(BIN)/python -m pytest tests/upgrade/rolling.py tests/upgrade/test_the_revision_before.py

pgbouncer-test: $(VENV)/.installed ## Tell the stories with PgBouncer in transaction mode before both databases (needs pgbouncer)
	STORIES_BEHIND=pgbouncer $(BIN)/python -m pytest tests/stories

format: $(VENV)/.installed ## Format the code and apply the safe fixes of the linter
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

migrate: $(VENV)/.installed ## Bring the databases in SIGNUP_DATABASE_URL and MAIL_DATABASE_URL to the newest schema
	$(BIN)/alembic -c migrations/alembic.ini -n signup upgrade head
	$(BIN)/alembic -c migrations/alembic.ini -n mail upgrade head

bench: $(VENV)/.installed ## Measure speed, as ratios to a yardstick in the same run
	$(BIN)/python -m tests.benchmarks

compose-test: ## Build the images, `docker compose up --wait`, sign up, find the mail (needs a Docker engine)
	tests/compose/run

model: $(VENV)/.installed ## Search every run of the model for a broken promise (needs spin and gcc; docs/model.md)
	$(BIN)/python -m tests.model

mutations: $(VENV)/.installed ## Break a line at a time; a test of the promise must fail (FIXED=1: CI's handful)
	$(BIN)/python -m tests.mutations $(if $(FIXED),--fixed)

# Clock steps need libfaketime (Debian: apt-get install libfaketime), full disks the right to mount: docs/lab.md.
lab: $(VENV)/.installed ## Throw a seeded schedule of faults at it all, then check every promise: SEED=1 MINUTES=2
	$(BIN)/python -m tests.lab --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2)

docs: $(VENV)/.installed ## Write the parts of the documentation that the code knows best
	$(BIN)/python docs/render.py

# The site's tools have an environment of their own. Two scripts of its pages come from npm, once, and are checked:
# mermaid draws the diagrams, iframe-worker makes the search work in pages that are opened as files.
SITE_VENV := var/site-venv
SITE_SCRIPTS := var/site-scripts

$(SITE_VENV)/.installed: requirements/docs.txt | $(VENV)/.installed
	@$(PYTHON) -m venv --clear $(SITE_VENV)
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(SITE_VENV)/bin/python --require-hashes -r requirements/docs.txt
	@touch $@

$(SITE_SCRIPTS)/.fetched: requirements/docs-scripts
	@rm -rf $(SITE_SCRIPTS) && mkdir -p $(SITE_SCRIPTS) && cd $(SITE_SCRIPTS) && $(CURDIR)/requirements/docs-scripts && touch .fetched

site: $(SITE_VENV)/.installed $(SITE_SCRIPTS)/.fetched ## Build the site of docs/ into var/site, every link checked (needs npm, once)
	@SITE_SCRIPTS=$(SITE_SCRIPTS) NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --clean
	@echo "Open var/site/index.html"

lock: $(VENV)/.installed ## Resolve the requirements files again from pyproject.toml
	cd requirements && ./lock

clean: ## Remove the virtual environment, caches and local state
	@[ ! -e .venv.lock ] || $(PYTHON) -m local.venv_lock refuse
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help .build-venv install run console demo check test openapi-lint openapi-clients browser-test monitoring-test daemon-test upgrade-test pgbouncer-test format migrate bench model mutations lab compose-test docs site lock clean
