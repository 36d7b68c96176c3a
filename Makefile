# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# The inventory whose clusters the targets act on.
INVENTORY ?= inventories/embedded
# Extra variables for the playbooks: "name=value ...", JSON or @file.
EXTRA ?=
# Further arguments for ansible-playbook.
ANSIBLE_ARGS ?=
# The Python that the environment is made from: the distribution's where it will do. A run takes a tenth longer by one
# that was built without optimizations, as tools that build any version of Python do by default.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  && echo /usr/bin/python3 || echo python3)
CACHE ?= $(HOME)/.cache/egress-ai-gateway

# Clones with the same lock and Python share one environment.
VENV := $(CACHE)/venv/$(shell \
  { cat requirements.txt; $(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)'; } | sha256sum | cut -c1-16)
# The checkout as a collection that Ansible finds.
COLLECTION := .collections/ansible_collections/egress/ai_gateway
READY := $(VENV)/.complete $(COLLECTION)

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(VENV)/bin:$(PATH)
export CACHE EXTRA INVENTORY
# CRDs of Kuadrant, KServe and wg-ai-gateway, which no package registry has: a directory of files named
# <group>_<plural>.yaml. Without it, what needs them is skipped.
export THIRD_PARTY_CRDS ?= $(wildcard $(CURDIR)/../shared/crds)
PLAYBOOK = ansible-playbook --inventory '$(INVENTORY)' $${EXTRA:+--extra-vars "$$EXTRA"} $(ANSIBLE_ARGS)

.PHONY: help
help: ## Show this help
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand --tabs=16
	@echo
	@echo 'Variables: INVENTORY=$(INVENTORY), EXTRA="name=value", ANSIBLE_ARGS="--check --diff"'

##### Clusters

.PHONY: site validate diagnose drift usage rotate render teardown destroy token api-key api-keys dump upgrade
site: $(READY) ## Provision the AI gateway, with its cluster where that is embedded, and validate it
	@$(PLAYBOOK) egress.ai_gateway.site

validate: $(READY) ## Check the gateway with real requests; the report goes to reports/
	@$(PLAYBOOK) egress.ai_gateway.validate

diagnose: $(READY) ## Find what is wrong with the gateway and why
	@$(PLAYBOOK) egress.ai_gateway.diagnose

drift: $(READY) ## Report what differs between the catalogue and the cluster; fails where something does
	@$(PLAYBOOK) egress.ai_gateway.drift

usage: $(READY) ## Report usage and cost into reports/ (EXTRA="usage_from=30d usage_prometheus_url=https://...")
	@$(PLAYBOOK) egress.ai_gateway.usage

rotate: $(READY) ## Give the gateway the keys that the inventory has now, without a refused request
	@$(PLAYBOOK) egress.ai_gateway.rotate_keys

upgrade: $(READY) ## Replace Envoy Gateway and Envoy by the releases of the inventory, without a refused request
	@$(PLAYBOOK) egress.ai_gateway.upgrade

render: $(READY) ## Write all that site would apply into rendered/, for kubectl or Argo CD
	@$(PLAYBOOK) egress.ai_gateway.render

dump: $(READY) ## Write the gateway as variables into dumped/ (EXTRA="dump_litellm_config=config.yaml" for a LiteLLM proxy)
	@$(PLAYBOOK) egress.ai_gateway.dump

teardown: $(READY) ## Remove what site made; the cluster stays
	@$(PLAYBOOK) egress.ai_gateway.teardown

destroy: $(READY) ## Remove the embedded cluster too
	@$(PLAYBOOK) egress.ai_gateway.destroy

token: $(READY) ## Print a token for the gateway (EXTRA="tokens_tier=free tokens_user=me")
	@directory=$$(mktemp --directory); trap 'rm -rf "$$directory"' EXIT; \
	$(PLAYBOOK) egress.ai_gateway.token --extra-vars tokens_file="$$directory/token" >&2; \
	cat "$$directory/token"

api-key: $(READY) ## Print a new API key (EXTRA="api_keys_name=build api_keys_owner=me api_keys_tier=free")
	@directory=$$(mktemp --directory); trap 'rm -rf "$$directory"' EXIT; \
	$(PLAYBOOK) egress.ai_gateway.api_keys --extra-vars api_keys_state=present \
	  --extra-vars api_keys_file="$$directory/key" >&2; \
	if [ -e "$$directory/key" ]; then cat "$$directory/key"; fi

api-keys: $(READY) ## List the API keys (EXTRA="api_keys_owner=me"); api_keys_state=absent revokes them
	@$(PLAYBOOK) egress.ai_gateway.api_keys

##### Tests

.PHONY: test lint units package sanity integration bench bench-bodies bench-scale bench-traffic
test: $(READY) ## Run all tests, none end to end that would begin after 65 minutes; they take over the embedded cluster
	@INTEGRATION_MINUTES=$${INTEGRATION_MINUTES-65} scripts/steps lint,units,package,sanity integration

lint: $(READY) ## Run the linters
	yamllint --strict .
	ruff check .
	ansible-lint --strict
	antsibull-changelog lint
	scripts/readmes --check
	scripts/messages --check
	scripts/words
	scripts/docsite
	MYPYPATH=.collections mypy -p ansible_collections.egress.ai_gateway.plugins

units: $(READY) ## Run the unit tests
	pytest --numprocesses auto --dist worksteal tests/unit

.PHONY: built
built: $(READY)
	scripts/package

package: built ## Build the collection, install it elsewhere and load it from there
	pytest tests/package

sanity: built ## Run ansible-test sanity on the built collection
	scripts/sanity

integration: $(READY) ## Run the end-to-end tests, from no cluster to no cluster (ARGS="-k NAME" for some alone)
	pytest --exitfirst --capture=no --durations=0 --durations-min=5 tests/integration $(ARGS)

.PHONY: faults
faults: $(READY) ## Attack a gateway for an hour: components harmed under load, killed runs, malformed requests (FAULTS="redis-killed")
	FAULT_MINUTES=$${FAULT_MINUTES-60} pytest --capture=no --durations=0 tests/faults $(ARGS)

bench: $(READY) ## Measure apply_set beside kubectl and kubernetes.core (ARGS="--objects 500 --rounds 3")
	python tests/benchmarks/apply.py $(ARGS)

bench-bodies: $(READY) ## Measure where bodies of requests can be judged (ARGS="--envoy PATH --rounds 3")
	python tests/benchmarks/bodies/run.py $(ARGS)

bench-scale: $(READY) ## Measure the gateway with many providers (ARGS="--providers 10 1000 --rounds 1")
	python tests/benchmarks/scale.py $(ARGS)

bench-traffic: $(READY) ## Measure the gateway beside Envoy, LiteLLM and Portkey, into docs/performance.md (ARGS="--rounds 1")
	PYTHONPATH=.collections:tests/benchmarks python -m traffic $(ARGS)

##### Files that are generated

.PHONY: docs readmes changelog lock
docs: $(READY) ## Check the documentation, and build it as HTML into .docsite
	scripts/docsite

readmes: $(READY) ## Write the variables of the roles into their READMEs, and the messages of the diagnosis
	@scripts/readmes
	@scripts/messages

changelog: $(READY) ## Write CHANGELOG.md from the fragments
	antsibull-changelog release --reload-plugins --update-existing

lock: ## Resolve each requirements.in into requirements.txt
	@command -v uv >/dev/null || { echo 'make lock: uv is missing: pip install uv' >&2; exit 1; }
	for directory in '' tests/benchmarks/traffic/litellm/; do \
	  uv pip compile --quiet --universal --only-binary :all: --generate-hashes \
	    --python-version "$$(sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)" \
	    --custom-compile-command 'make lock' \
	    --output-file $${directory}requirements.txt $${directory}requirements.in; \
	done

##### The environment

$(VENV)/.complete:
	@$(PYTHON) scripts/venv requirements.txt $(VENV)

$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn ../../.. $@
