# `make` prints the targets. demo and test need a Rust toolchain, and a Debian or Ubuntu machine with
# root or an engine that exists. They provide everything else, and restore the machine.

IMAGE ?= tidetable:latest
# The arguments for `docker build`, such as IMAGE_ARGS="--build-arg RUST_IMAGE=…".
IMAGE_ARGS ?=
ARGS ?=
SEEDS ?= 100000
MINUTES ?= 60
JOBS ?= 1000000

.PHONY: help demo test simulate torture soak scale bench check lint docs test-image build image clean

help: ## prints this
	@sed -nE 's/^([a-z%-]+):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: ## shows it work: containers scheduled, run and reported, a minute after the build
	@scripts/demo.sh

test: ## every test, on a real Docker and a real Podman; ARGS="--test api" runs a part
	@scripts/test.sh $(ARGS)

check: lint ## the checks of CI: formatting, lints, documentation, tests, the container image
	@scripts/test.sh
	@scripts/image-test.sh

lint: ## formatting, clippy, rustdoc, and licenses where cargo-deny is installed
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "WARNING: cargo-deny is not installed, so deny.toml was not checked"; fi

docs: ## writes docs/spec.md anew from the code
	UPDATE_DOCS=1 cargo test --locked --test api docs::spec

simulate: ## SEEDS=100000 random runs of the simulation; SEED=7 repeats one and prints its trace
	SEEDS=$(SEEDS) $(if $(SEED),SEED=$(SEED)) cargo test --locked --test virtual_time whatever_goes_wrong -- --nocapture

torture: ## kills servers, engines and networks for half an hour; SEED=7 repeats a plan, ARGS="NAME" selects one
	@TORTURE=full scripts/test.sh --test endurance torture:: -- --include-ignored --nocapture --test-threads 1 $(ARGS)

soak: ## mixed load with kills for an hour (MINUTES=60), and whether anything has grown; samples in target/soak.csv
	@MINUTES=$(MINUTES) scripts/test.sh --test endurance soak:: -- --nocapture

scale: ## a store with a million jobs (JOBS=1000000) reads as little as a small one
	JOBS=$(JOBS) cargo test --locked --test scale -- --nocapture

bench: ## all measurements but recovery and scale, compared with limits and with other schedulers; tables on stderr, JSON on stdout
	@scripts/bench.sh $(ARGS)

bench-%: ## one of them: lateness herd aim overhead submit remember read watch recovery scale
	@$(if $(filter scale,$*),JOBS=$(JOBS)) scripts/bench.sh $*

build: ## the release binary: target/release/tidetable
	cargo build --locked --release

image: ## the container image, on the engine that `docker` reaches
	docker build $(IMAGE_ARGS) -t $(IMAGE) .

test-image: ## builds the container image, and tests it
	@scripts/image-test.sh

clean: ## stops engines that a killed run left, and removes target/
	@scripts/podman.sh release
	@scripts/engine.sh release
	@TIDETABLE_ENGINE_DIR=target/demo scripts/engine.sh release
	cargo clean
