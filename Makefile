# Everything here is relative, so that a path with a space works.
PYTHON ?= python3
RUN    := .venv/bin/python runner.py
YES    ?=
SURE   := $(if $(YES),--yes)
# A line a package, as it comes; whether pip failed a file tells, since the pipe doesn't.
INSTALL = { rm -f .venv/failed; { PYTHONUNBUFFERED=1 .venv/bin/python -m pip install --disable-pip-version-check --editable $(1) || touch .venv/failed; } \
	| while read -r verb package; do case "$$verb $$package" in Collecting*) echo "  $${package%% *}" >&2;; "Installing collected"*) echo "  putting them in place" >&2;; esac; done; test ! -e .venv/failed; }

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into .venv (some minutes where nothing is cached)" >&2
	@$(PYTHON) -m venv .venv && $(call INSTALL,.) && touch $@

.venv/ready-dev: .venv/ready
	@echo "installing the development tools into .venv" >&2
	@$(call INSTALL,'.[dev]') && touch $@

migrate: .venv/ready ## apply what is pending and verify (starts the embedded server if none is configured)
	@$(RUN) migrate && $(RUN) verify --quiet

demo: .venv/ready ## see it work: migrate, import the examples, compare them with the tables, report
	@$(RUN) migrate && $(RUN) import examples/legacy && $(RUN) verify --source examples/legacy && $(RUN) report

import: .venv/ready ## load JSON files: make import DATA=folder-of-bots
	@$(RUN) import "$(DATA)"

status: .venv/ready ## where each migration stands
	@$(RUN) status

setup: .venv/ready ## choose another server, test it, write .env
	@$(RUN) setup

psql: .venv/ready ## psql on the same server: interactive, or runs what is piped into it
	@$(RUN) exec psql -X -v ON_ERROR_STOP=1

yoyo: .venv/ready ## yoyo on the same server: make yoyo CMD="list"
	@$(RUN) exec yoyo $(CMD)

env: .venv/ready ## print the connection for your shell: eval "$(make -s env)"
	@$(RUN) env

test: .venv/ready-dev ## run the tests, each core with a container or server of its own, or all on TEST_DATABASE_URL
	@.venv/bin/python -m pytest

test-all: .venv/ready-dev ## run the tests on PostgreSQL 15 (PG15= its bin folder) and on 18
	@TEST_PG_BIN="$(PG15)" .venv/bin/python -m pytest && .venv/bin/python -m pytest

test-pythons: .venv/ready-dev ## run the tests on each Python found, 3.11 to 3.14; resolve the others' wheels
	@tests/pythons.sh

bench-import: .venv/ready-dev ## time the import against COPY and other ways (SCALE=1 is 2 million messages)
	@.venv/bin/python -m bench.import_bench

bench-rls: .venv/ready-dev ## time the policies against a bot_id in every WHERE (SCALE=1 is 2 million messages)
	@.venv/bin/python -m bench.rls_bench

bench-audit: .venv/ready-dev ## time the audit against the same work unaudited (SCALE=1 is 200,000 messages at once)
	@.venv/bin/python -m bench.audit_bench

bench-queries: .venv/ready-dev ## time what a bot asks, and the roll-up (SCALE=1 is 2 million messages)
	@.venv/bin/python -m bench.queries_bench

bench-messages: .venv/ready-dev ## time and count what one message costs, beside bare tables (SCALE=1 is 200,000 messages)
	@.venv/bin/python -m bench.messages_bench

bench-writers: .venv/ready-dev ## time many writers at once, in one chat and in several (SCALE=1 is 5 s a run)
	@.venv/bin/python -m bench.writers_bench

bench-migrate: .venv/ready-dev ## time `runner.py migrate` against psql with the same files
	@.venv/bin/python -m bench.migrate_bench

bench-roles: .venv/ready-dev ## time what reads roles where there are many (SCALE=1 is 1,000 and 5,000 bots)
	@.venv/bin/python -m bench.roles_bench

bench: .venv/ready-dev ## run all benches (or BENCHES="rls queries" again), write bench/RESULTS.md
	@.venv/bin/python -m bench $(BENCHES)

torture: .venv/ready-dev ## run the long tests as well, keep the result in tests/TORTURE.md (SEED= repeats, KILLS=)
	@TORTURE=1 .venv/bin/python -m pytest --numprocesses=0

check: .venv/ready-dev ## lint and measure the repository
	@.venv/bin/python -m checks

reset: .venv/ready ## drop and rebuild the embedded database (asks, or YES=1)
	@$(RUN) reset $(SURE)

stop: .venv/ready ## stop the embedded server
	@$(RUN) stop

clean: ## stop the embedded server; delete .venv and caches (the data in .pgdata stays)
	@if [ -e .venv/ready ]; then $(RUN) stop; fi
	@rm -rf .venv .venv-* .scratch .pytest_cache .ruff_cache .hypothesis *.egg-info && find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help migrate demo import status setup psql yoyo env test test-all test-pythons bench-import bench-rls bench-audit bench-queries bench-writers bench-migrate bench-roles bench torture check reset stop clean
PG15 ?= /usr/lib/postgresql/15/bin
