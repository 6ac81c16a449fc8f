# `make run` is all that a fresh machine needs: Python 3.11+, make and git.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run down status health env install test slow check bench sql aws

help: ## show this help
	@echo "Usage: make <target>"; echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' | awk -F'|' '{gsub(/[$$][$$]/, "$$"); printf "  %-8s %s\n", $$1, $$2}'
	@echo
	@echo "Variables (environment): AIRFLOW_PORT=8080 S3_PORT=8333 POSTGRES_PORT=5433 STACK_DIR=.stack NO_DEMO=1 NO_AIRFLOW=1"
	@echo "A stack keeps its ports and the product's variables: give them once. STACK_DIR is needed at every command."

run: $(STAMP) ## start PostgreSQL, S3 and Airflow, load the sample data, print the insights, stay up
	@exec $(PY) -m embedded up

down: $(STAMP) ## end a running stack from another shell
	@exec $(PY) -m embedded down

status: $(STAMP) ## say what runs, and where
	@$(PY) -m embedded status || test $$? -eq 3

health: $(STAMP) ## say what is not well: files that wait, paused Dags, dead processes, missed backups
	@$(PY) -m embedded health

env: $(STAMP) ## print export lines for clients: eval "$$(make -s env)"
	@exec $(PY) -m embedded env

test: $(STAMP) ## run every test, end-to-end runs on a stack of their own included
	$(PY) -m pytest -n 3 --dist loadscope

slow: $(STAMP) ## run the tests that take minutes: docker-compose.yaml's services as processes
	$(PY) -m pytest -m slow tests

check: $(STAMP) ## lint, format, types, SQL grammar, security of code and packages; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@PYTHONPATH=include $(PY) -m embedded.sqlcheck
	$(VENV)/bin/bandit --quiet --configfile pyproject.toml --recursive include plugins dags embedded
	@$(PY) -m embedded.audit

aws: $(STAMP) ## lint deploy/aws by cfn-lint and checkov, which the first run fetches
	@index="$$($(PY) -m pip config get global.index-url 2>/dev/null || true)"; \
	  if [ -n "$$index" ] && [ -z "$${UV_DEFAULT_INDEX:-}" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	  UV=$(VENV)/bin/uv deploy/aws/check.sh

sql: $(STAMP) ## print all SQL of a dialect as one script: make -s sql DIALECT=redshift
	@PYTHONPATH=include $(PY) -m embedded.sqlscript $(or $(DIALECT),postgres)

bench: $(STAMP) ## run the benchmarks
	$(PY) -m bench

install: $(STAMP)

# uv takes the package index that pip is configured with, if any.
$(STAMP): requirements.txt requirements-run.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d; set PYTHON=" % sys.version_info[:2])'
	@test -x $(PY) || { echo "Making $(VENV) ..." >&2; $(PYTHON) -m venv $(VENV); }
	@echo "Installing requirements into $(VENV) (once) ..." >&2
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@index="$$($(PY) -m pip config get global.index-url 2>/dev/null || true)"; \
	  if [ -n "$$index" ] && [ -z "$${UV_DEFAULT_INDEX:-}" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	  export VIRTUAL_ENV="$(CURDIR)/$(VENV)"; \
	  $(VENV)/bin/uv pip install --quiet -r requirements.txt -c constraints.txt >&2
	@touch $@
