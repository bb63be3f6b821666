# Verbs only: what they do stands in scripts and crates/xtask. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test build lint fmt generate check-generate e2e packages conform-long conform-mutants chaos mutants bench test-rust test-go test-python test-node tools clean

PYTHON ?= python3
run = $(PYTHON) tests/run.py

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set up and run the anomaly pipeline (EVENTS=1000000 at scale; OTEL_EXPORTER_OTLP_ENDPOINT=URL to send its traces)
	@$(PYTHON) examples/anomaly/demo.py

test: ## set up and run every test, check and lint
	@$(run) all

build: ## build the coordinator, the SDKs and the nodes of examples and tests
	@$(run) setup

lint: ## lints and formats of all four languages, and of the protocol
	@$(run) lint

fmt: ## format the code of all four languages
	@$(run) fmt

generate: ## generate code from proto/ in all four languages
	@$(run) generate

check-generate: ## fail if the committed generated code is not what proto/ gives
	@$(run) check-generate

e2e: ## end-to-end tests over real processes
	@$(run) e2e

packages: ## build the packages of the SDKs, install them elsewhere and run their quick starts
	@$(run) packages

conform-long: ## the conformance kit against the four SDKs with many random cases (SEED=n for the same again, CASES=n)
	@$(run) conform-long

conform-mutants: ## break one rule at a time in the Python, Go and Rust SDKs, and show that the conformance kit notices
	@$(run) conform-mutants

chaos: ## random faults against the oracle, 1,000 of them or 30 minutes (SEED=n for the same again, ROUNDS=1 for one round)
	@$(run) chaos

mutants: ## break the code of settlement and checkpoints in every way, and show what no test notices (PART=machine: dispatch, retry, ordering)
	@$(run) mutants

bench: ## benchmarks, as ratios to a reference each
	@$(run) bench

test-rust: ## tests of the Rust crates and nodes (without end-to-end)
	@$(run) rust

test-go: ## tests of the Go SDK and nodes
	@$(run) go

test-python: ## tests of the Python SDK and nodes
	@$(run) python

test-node: ## tests of the Node.js SDK and nodes
	@$(run) node

tools: ## build the programs that tests use (Jaeger, grpcurl)
	@tests/tools/install.sh

clean: ## remove what builds have made in this checkout
	@$(run) clean
