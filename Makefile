# The commands of this project; `make help` lists them. Everything runs from .venv, which `make setup` keeps.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup check site unit test test-connect test-spark35 demo bench soak deploy smoke package lock audit licences clean

BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE := 1

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what everything else needs, into .venv and its neighbours (quick when nothing changed)
	@requirements/setup.sh

check: ## lint, types, import contract, SQL and DataFrames only, template, the site
	@status=0; \
	for command in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo --cache-dir .build/import-linter" \
		"python -m tests.support.sql_only" "python -m tests.template.lint"; do \
		echo "── $$command"; $(BIN)/$$command || status=1; \
	done; \
	echo "── make site"; $(MAKE) --no-print-directory site || status=1; \
	exit $$status

# The variable keeps mkdocs-material's notice of its successor out of every check; requirements/site.in has it.
site: ## the documentation as a site, in .build/site (strict: a link to nowhere fails it)
	@NO_MKDOCS_2_WARNING=1 .venv-site/bin/mkdocs build --strict --quiet
	@echo "site: .build/site/index.html"

unit: ## the tests that need neither Spark nor the local stack (for the edit loop)
	@$(BIN)/pytest -q -m "not spark and not stack and not soak" --ignore tests/simulation

test: ## set up, then every check and every test
	@started=$$SECONDS; requirements/setup.sh; $(BIN)/python -m tests.run --setup-seconds $$((SECONDS - started))

demo: ## set up, then live a real table through the whole pipeline on this machine (SIZE=full, KEEP=1)
	@requirements/setup.sh
	@exec $(BIN)/python -m demo.run $(if $(SIZE),--size $(SIZE)) $(if $(filter-out 0,$(KEEP)),--keep)

bench: setup ## benchmarks against the obvious implementation, as ratios of one run (MERGE=1, HISTORY=1: on Delta, half an hour and more; LIVE=1: twelve minutes, or ROWS=5000000 MINUTES=120; ENTITIES=1: ten minutes)
	@$(if $(MERGE)$(HISTORY)$(LIVE)$(ENTITIES),,exec $(BIN)/python -m bench)
	@$(if $(MERGE),exec $(BIN)/python -m bench.merge --write)
	@$(if $(HISTORY),exec $(BIN)/python -m bench.history --write)
	@$(if $(LIVE),exec $(BIN)/python -m bench.live --write $(if $(ROWS),--rows $(ROWS)) $(if $(MINUTES),--minutes $(MINUTES)))
	@$(if $(ENTITIES),exec $(BIN)/python -m bench.entities --write)

test-connect: setup ## the Spark tests through a Spark Connect server, but for those that need a classic session
	@exec $(BIN)/python -m tests.spark.connect_server $(BIN)/pytest -q -m "spark and not soak" tests/spark

test-spark35: setup ## the Spark tests on Spark 3.5 and Delta 3.3, in an environment of their own
	@requirements/setup.sh spark35
	@exec .venv-spark35/bin/python -m pytest -q -n 2 --dist loadfile -m "spark and (not soak or spark35)" tests/spark

soak: setup ## the long tests, then an hour of histories with 1 % of every fault (HOURS=8, or MINUTES=20)
	@requirements/setup.sh soak
	@$(BIN)/pytest -m soak
	@$(MAKE) --no-print-directory test-connect
	@exec $(BIN)/python -m tests.simulation soak --minutes $(or $(MINUTES),$(if $(HOURS),$$(($(HOURS) * 60)),60))

# `value`: as it was written, so that a dollar in it stays one.
deploy: export DEPLOY_STACK := $(value STACK)
deploy: export DEPLOY_PARAMETERS := $(value PARAMETERS)
deploy: setup ## to the AWS account of your credentials: STACK=name PARAMETERS="TableName=…" once, then as it was (YES=1: asks nothing, for CI)
	@exec $(BIN)/lakebound deploy --source . --stack "$$DEPLOY_STACK" --parameters "$$DEPLOY_PARAMETERS" \
		--runtime "$(RUNTIME)" --architecture "$(ARCHITECTURE)" $(if $(filter-out 0,$(YES)),--yes)

smoke: setup ## on a deployed stack, what no emulator shows: STACK=name (TABLE=name refuses another table's, DRY_RUN=1 only tells)
	@exec $(BIN)/lakebound smoke $(if $(STACK),--stack "$(STACK)") $(if $(TABLE),--table "$(TABLE)") $(if $(filter-out 0,$(DRY_RUN)),--dry-run)

package: setup ## what a release holds, into dist/: BUCKET=name (the code of the packaged template goes there)
	@exec $(BIN)/python -m release.artefacts $(if $(BUCKET),"$(BUCKET)",$(error Say BUCKET=name))

lock: ## pin again after an edit of requirements/*.in (UPGRADE=1 takes newer versions)
	@for pair in "requirements/layer.in src/requirements.txt" "requirements/main.in requirements/main.txt" "requirements/parquet.in src/parquet.txt" "requirements/deltalake.in src/deltalake.txt" "requirements/sam.in requirements/sam.txt" "requirements/spark35.in requirements/spark35.txt" "requirements/audit.in requirements/audit.txt" "requirements/site.in requirements/site.txt" "requirements/cdk.in requirements/cdk.txt"; do \
		set -- $$pair; \
		$(BIN)/uv pip compile $$1 --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links --annotation-style line $(if $(UPGRADE),--upgrade) --output-file $$2; \
	done
	@if grep -nE 'https?://' src/*.txt requirements/*.txt; then echo "make lock: a lock file holds an address" >&2; exit 1; fi

audit: setup ## known vulnerabilities of everything that is locked (asks PyPI's advisories)
	@status=0; for lock in src/requirements.txt src/parquet.txt src/deltalake.txt requirements/*.txt; do \
		echo "── $$lock"; .venv-audit/bin/pip-audit --requirement $$lock --no-deps --disable-pip --strict --progress-spinner off || status=1; \
	done; exit $$status

licences: setup ## write docs/LICENCES.md: the licence of every package that a deployment carries
	@$(BIN)/python -m docs.licences

clean: ## remove what was built (the environments too with ALL=1)
	@rm -rf .build .aws-sam dist *.egg-info src/*.egg-info spark/*.egg-info $(if $(ALL),.venv .venv-spark35 .venv-sam .venv-audit .venv-site .venv-cdk)
