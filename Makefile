# The only entry, for people and for CI. Needs: git, make, Python >= 3.11, Go, a JDK >= 17 with Maven. Everything else is
# fetched from the package registries into .venv and into $(RECSYS_CACHE), once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A home may be missing in a container; then the cache lies beside the state of the running parts.
export HOME := $(or $(HOME),$(CURDIR)/build/home)
export RECSYS_CACHE ?= $(HOME)/.cache/recsys-operator
export UV_PYTHON_DOWNLOADS := never

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
UV := $(RECSYS_CACHE)/uv/bin/uv
HELM := $(RECSYS_CACHE)/bin/helm
VENV := .venv/.installed
MEMBERS := schemas operator ray_apps dev
SOURCES := $(wildcard $(MEMBERS) tests)
FAST := $(wildcard tests/unit tests/properties tests/worlds)

# What a user may hand over: `make demo DATA=folder KEEP=0`, `make chaos-line N=20`, `make test ARGS='-k words -x'`.
DATA ?=
KEEP ?=
N ?= 20
MODELS ?= 100,1000
ARGS ?=

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV): requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml) dev/bootstrap.sh
	@dev/bootstrap.sh

.PHONY: setup
setup: $(VENV) ## Make .venv with every pinned package (1 min; under 1 s when nothing changed).

.PHONY: tools
tools: $(VENV) ## Build Kubernetes, etcd and helm, fetch Kafka (10 min cold; 1 s warm).
	@$(PYTHON) -m recsys_dev.cache
	@$(PYTHON) -m recsys_dev.kafka_jars

.PHONY: demo
demo: $(VENV) ## The whole line on real parts, with a report at its end: DATA=folder for real events, KEEP=0 to end by itself.
	@DATA='$(DATA)' KEEP='$(KEEP)' $(PYTHON) -m recsys_dev.demo

.PHONY: test
test: $(VENV) ## All tests on real parts (40 min; 15 min more the first time): ARGS='-k words' goes to pytest.
	@echo "All tests: fast ones, then a real Kubernetes API, Kafka brokers and Ray, all on loopback."
	@echo "It takes up to 40 min on 2 cores; the first time 10 to 15 min more, to build Kubernetes and fetch Kafka and Ray."
	@$(MAKE) tools
	@dev/test-all.sh $(ARGS)

.PHONY: test-unit
test-unit: $(VENV) ## Units, properties and simulated worlds: no real parts (3 min).
	@$(PYTEST) $(FAST) -m "not slow" -n $$($(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))') --dist worksteal $(ARGS)

.PHONY: test-kube
test-kube: $(VENV) ## Tests on a real Kubernetes API server (8 min; 7 min more the first time).
	@$(PYTHON) -m recsys_dev.cache
	@$(PYTEST) tests/kube $(ARGS)

.PHONY: test-kafka
test-kafka: $(VENV) ## Tests on real Kafka brokers (10 min).
	@$(PYTHON) -m recsys_dev.kafka_jars
	@$(PYTEST) tests/kafka $(ARGS)

.PHONY: test-ray
test-ray: $(VENV) ## Tests on a real Ray (10 min).
	@$(PYTEST) tests/ray $(ARGS)

.PHONY: test-e2e
test-e2e: tools ## The demo, shortened, as a test (6 min).
	@$(PYTEST) tests/e2e $(ARGS)

.PHONY: images
images: $(VENV) ## Images of the operator and the Ray apps: with an engine, else in root folders (10 min cold; 5 s warm).
	@$(PYTHON) -m recsys_dev.images $(ARGS)

.PHONY: e2e-node
e2e-node: tools ## The line in pods of a real node with KubeRay: trained, promoted, rolled back, upgraded (root; KEEP=1 to look around).
	@KEEP='$(KEEP)' $(PYTHON) -m recsys_dev.node_e2e

.PHONY: e2e-try-out
e2e-try-out: tools ## The chart's own brokers and store on a real node, by the commands of docs/guides/kind.md (root; KEEP=1 to look around).
	@KEEP='$(KEEP)' $(PYTHON) -m recsys_dev.node_try_out

.PHONY: e2e-upgrade
e2e-upgrade: tools ## The operator replaced by its next release and its last one, in training and in canaries, under users (5 min; needs the git history).
	@PYTHONPATH=tests $(PYTHON) tests/chaos/line_upgrade.py $(ARGS)

.PHONY: chaos-line
chaos-line: tools ## Kill each part at N=20 random moments of the line; the end must be the same, and broken twins be caught.
	@PYTHONPATH=tests $(PYTHON) tests/chaos/line_kill.py --kills $(N) $(ARGS)
	@PYTHONPATH=tests $(PYTHON) tests/chaos/line_kill.py --kills $(N) --twin $(ARGS)
	@$(PYTHON) tests/chaos/ingest_storm.py --twin "offsets outside the commit"

.PHONY: chaos-ingest
chaos-ingest: tools ## Blows to ingest: N=200 kills at system calls and at random, stops, failing stores and brokers; and broken twins (5 min).
	@$(PYTHON) tests/chaos/ingest_storm.py --kills $(if $(findstring command,$(origin N)),$(N),200) --twins $(ARGS)

.PHONY: chaos-operator
chaos-operator: tools ## Cut, kill and answer falsely at every call of the operator, and harm its watches; broken twins are caught (15 min).
	@PYTHONPATH=tests $(PYTHON) tests/chaos/operator_storm.py --twins $(ARGS)

.PHONY: chaos-world
chaos-world: $(VENV) ## Random histories of rollouts in a simulated world, on all processors: N=100000 (1 h on 2 idle cores); ARGS='--seconds 600' for less; and broken twins of the plan, which are caught.
	@PYTHONPATH=tests $(PYTHON) -m worlds.random_walks --number $(if $(findstring command,$(origin N)),$(N),100000) $(ARGS)
	@PYTHONPATH=tests $(PYTHON) -m worlds.walk_twins

.PHONY: bench-interleave
bench-interleave: $(VENV) ## How many fewer users mixed lists need than an A/B test, on the simulated audience (1 min).
	@PYTHONPATH=tests $(PYTHON) -m bench.interleave $(ARGS)

.PHONY: load
load: $(VENV) ## Ten minutes of a realistic mix on serving while a training job and a canary run; ARGS='--seconds 60 --rate 50' for less.
	@$(PYTHON) -m recsys_dev.kafka_jars
	@PYTHONPATH=tests $(PYTHON) -m load $(ARGS)

.PHONY: load-hostile
load-hostile: $(VENV) ## Slow, huge and silent clients beside honest ones, through the ingress and at a replica (8 min).
	@$(PYTHON) -m recsys_dev.kafka_jars
	@PYTHONPATH=tests $(PYTHON) -m load.hostile $(ARGS)

.PHONY: chaos-serving
chaos-serving: $(VENV) ## 1,000 version switches and 50 kill -9 of replicas under load, and broken twins (40 min; ARGS='--switches 50 --kills 5').
	@$(PYTHON) -m recsys_dev.kafka_jars
	@PYTHONPATH=tests $(PYTHON) -m chaos.serving_storm --twins $(ARGS)

.PHONY: chaos-rollout
chaos-rollout: $(VENV) ## N=200 bad and as many good versions through whole rollouts in the simulated world (10 min): bad ones are caught in time, good ones promoted.
	@PYTHONPATH=tests $(PYTHON) -m worlds.many_rollouts --each $(if $(findstring command,$(origin N)),$(N),200) $(ARGS)

.PHONY: fuzz-resources
fuzz-resources: tools ## N=5000 changes of models on a real API server, right, wrong and undone; and a broken twin (20 min).
	@PYTHONPATH=tests $(PYTHON) tests/chaos/resource_fuzz.py --transitions $(if $(findstring command,$(origin N)),$(N),5000) $(ARGS)
	@PYTHONPATH=tests $(PYTHON) tests/chaos/resource_fuzz.py --transitions 30 --only revisionHistoryLimit --twin

.PHONY: bench
bench: tools bench-ingest bench-models bench-serving ## Measure ingest, models and serving against the bare parts in the same run (20 min); DATA=folder for real events.

.PHONY: bench-serving
bench-serving: $(VENV) ## Serving beside bare ASGI, plain Ray Serve and an echo, 4k to 1M items: rates, CPU, times at half load (10 min).
	@$(PYTHON) -m recsys_dev.kafka_jars
	@PYTHONPATH=tests $(PYTHON) -m bench.serving $(ARGS)

.PHONY: bench-models
bench-models: $(VENV) ## Every algorithm beside `implicit`, on DATA=folder in a MovieLens layout or drawn data (15 min at most; ARGS='--minutes 5'): quality, time, memory.
	@DATA=$(DATA) PYTHONPATH=tests $(PYTHON) -m bench.models $(ARGS)

.PHONY: bench-ingest
bench-ingest: $(VENV) ## Ingest beside a bare drain and Spark: rates, CPU, memory, time to visibility, restart (8 min; fetches 280 MB once).
	@PYTHONPATH=tests $(PYTHON) -m bench.ingest $(ARGS)

.PHONY: bench-operator
bench-operator: tools ## Ours, a plain kopf operator and KubeRay's on MODELS=100,1000 objects: time until all are observed, memory, CPU and writes at rest, failover (20 min).
	@PYTHONPATH=tests $(PYTHON) -m bench.operators --models $(MODELS) $(ARGS)

.PHONY: bench-tables
bench-tables: $(VENV) ## Commits a second and the time to open a table, as it ages to 10,000 commits (20 min; ARGS='--commits 1000' for less).
	@PYTHONPATH=tests $(PYTHON) -m bench.tables $(ARGS)

.PHONY: bench-scale
bench-scale: $(VENV) ## IALS on 1, 2 and 4 Ray Train workers, 10 million generated interactions (8 min; ARGS='--interactions 100000000' for more).
	@PYTHONPATH=tests $(PYTHON) -m bench.scale $(ARGS)

.PHONY: bench-rollout
bench-rollout: $(VENV) ## How soon a rollout is decided, and how often wrongly, beside the threshold rules of canary tools (10 min).
	@PYTHONPATH=tests $(PYTHON) -m bench.rollout $(ARGS)

.PHONY: bench-rollback
bench-rollback: tools ## 30 rollbacks by evidence of real replicas under load: from the verdict to the last answer of the bad version (10 min).
	@PYTHONPATH=tests $(PYTHON) -m bench.rollback $(ARGS)

.PHONY: model-card
model-card: $(VENV) ## Make a version of the simulated audience, and docs/images/model-card.png of its page (1 min; needs Chromium).
	@PYTHONPATH=tests $(PYTHON) -m bench.model_card

.PHONY: bench-cold
bench-cold: $(VENV) ## Users and items that nobody knows yet: NDCG@10 against popularity (10 min); DATA=folder for MovieLens' layout.
	@DATA='$(DATA)' PYTHONPATH=tests $(PYTHON) -m bench.cold $(ARGS)

.PHONY: bench-gpu
bench-gpu: $(VENV) ## Fits that can use a GPU (ALS, TwoTower) beside one CPU: time, and that the models are as good (2 min, with CUDA; ends with 2 without).
	@PYTHONPATH=tests $(PYTHON) -m bench.gpu $(ARGS)

.PHONY: bench-freshness
bench-freshness: tools ## 1,000 probe events beside 1,000 events/s, and 100 new items: acknowledged to answer changed, p50 and p99 (3 min).
	@PYTHONPATH=tests $(PYTHON) -m bench.freshness $(ARGS)

.PHONY: fuzz-api
fuzz-api: $(VENV) ## Ask the API 10,000 times what its own description allows and does not (schemathesis, all checks; 15 min; N=cases).
	@FUZZ_CASES=$(if $(findstring command,$(origin N)),$(N),10000) $(PYTEST) tests/contracts/test_fuzzed_api.py -q --show-capture=no $(ARGS)

.PHONY: lint
lint: $(VENV) ## Style, types, layers, generated files, chart.
	@$(PYTHON) -m ruff check $(SOURCES)
	@$(PYTHON) -m ruff format --check $(SOURCES)
	@$(PYTHON) -m pyright
	@.venv/bin/lint-imports
	@$(PYTHON) -m recsys_schemas.generate --check
	@$(PYTHON) -m recsys_dev.openapi --check
	@$(PYTHON) -m recsys_dev.diagrams --check
	@$(PYTHON) -m recsys_dev.cache helm
	@$(HELM) lint --strict charts/recsys-operator

.PHONY: format
format: $(VENV) ## Format the sources, and mend what ruff can mend.
	@$(PYTHON) -m ruff check --fix-only --quiet $(SOURCES)
	@$(PYTHON) -m ruff format $(SOURCES)

.PHONY: generate
generate: $(VENV) ## Write CRDs, JSON Schemas, OpenAPI and the reference from schemas/.
	@$(PYTHON) -m recsys_schemas.generate
	@$(PYTHON) -m recsys_dev.openapi
	@$(PYTHON) -m recsys_dev.diagrams

.PHONY: lock
lock: $(VENV) ## Pin all packages with their hashes again: requirements.lock, dev/peers/requirements.txt.
	@# uv.lock would name the index that it was made with, so the lock is a requirements file.
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    $(foreach member,recsys-schemas recsys-operator ray-apps recsys-dev,--no-emit-package $(member)) \
	    pyproject.toml --group test --group lint -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    dev/peers/requirements.in -o dev/peers/requirements.txt
	@# What the images hold: the same versions, less what only tests need.
	@lock() { $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    --constraint requirements.lock --no-emit-package recsys-schemas "$$@"; }; \
	lock operator/pyproject.toml -o images/operator/requirements.lock; \
	lock --extra neural ray_apps/pyproject.toml -o images/ray-apps/requirements-cpu.lock; \
	lock --extra neural ray_apps/pyproject.toml images/ray-apps/gpu.in -o images/ray-apps/requirements-gpu.lock; \
	lock images/building/requirements.in -o images/building/requirements.lock
	@dev/bootstrap.sh

.PHONY: down
down: ## Stop everything that was left running here, and remove its state (FORCE=1: also under a running test).
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m recsys_dev.down; else echo "Nothing was running."; fi

.PHONY: clean
clean: down ## Remove all that was built here; the cache in RECSYS_CACHE stays.
	@rm -rf .venv build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
