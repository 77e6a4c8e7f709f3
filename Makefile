# make demo      shows it work: containers scheduled, run and reported, a minute after the build
# make test      every test, on a real Docker and a real Podman
# make simulate SEEDS=100000   that many random runs of the simulation; SEED=7 repeats one and
#                prints its trace
# make check     the checks of CI: formatting, lints, documentation, tests, the container image
# make torture   kills servers, engines and networks for half an hour (SEED=7 repeats a plan,
#                ARGS="NAME" selects one run)
# make soak      mixed load with kills for an hour (MINUTES=60), and a check that nothing has grown;
#                samples in target/soak.csv
# make bench     all measurements on an engine, compared with its limits and with other schedulers;
#                `make bench-NAME` makes one of them; tables on stderr, JSON on stdout
# make bench-lateness  the lateness of a start, compared with a bare `start` and with other
#                schedulers (WAITING=1000000, JOBS=200)
# make bench-herd      the time for 200 jobs due at one instant, compared with the engine's API at
#                its best (HERD=200)
# make bench-aim       checks that jobs with `aim` begin at their due time, and none before it
#                (AIM=1000)
# make bench-overhead  the service's processor time for 1,000 jobs, compared with the engine's
#                (OVERHEAD=1000)
# make bench-read      the time of GET /jobs with 1,000 to a million jobs, of one job and of a page,
#                compared with the same from memory
# make bench-watch     the processor time and memory for running jobs, followers of output and
#                callers in `wait` (REAL=200)
# make bench-submit    durable submits per second, compared with HTTP and the disk alone; with a
#                million jobs waiting, compared with none (WAITING=, REQUESTS=)
# make bench-remember  memory, start-up and disk for a million jobs, compared with none
# make bench-recovery  the time until a new scheduler knows the state of 10,000 jobs in flight
# make scale     checks that a store with a million jobs reads as little as a small one
#                (JOBS=1000000)
# make bench-scale     the cost of a million jobs: start, POST, GET, a page, lateness, compared with
#                an empty store
# make build     the release binary: target/release/tidetable
# make image     the container image, on the engine that `docker` reaches
# make clean     stops engines that a killed run left, and removes target/
#
# demo and test need a Rust toolchain, and a Debian or Ubuntu machine with root or an engine that
# exists. They provide everything else, and restore the machine. `make test ARGS="--test api"` runs
# a part.

IMAGE ?= tidetable:latest
# The arguments for `docker build`, such as IMAGE_ARGS="--build-arg RUST_IMAGE=…".
IMAGE_ARGS ?=
ARGS ?=
SEEDS ?= 100000
MINUTES ?= 60
JOBS ?= 1000000

.PHONY: demo test simulate torture soak scale bench bench-lateness bench-aim bench-herd bench-overhead bench-submit bench-remember bench-read bench-watch bench-recovery bench-scale test-image check lint build image clean

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh $(ARGS)

simulate:
	SEEDS=$(SEEDS) $(if $(SEED),SEED=$(SEED)) cargo test --locked --test virtual_time whatever_goes_wrong -- --nocapture

torture:
	@TORTURE=full scripts/test.sh --test endurance torture:: -- --include-ignored --nocapture --test-threads 1 $(ARGS)

soak:
	@MINUTES=$(MINUTES) scripts/test.sh --test endurance soak:: -- --nocapture

bench:
	@scripts/bench.sh $(ARGS)

bench-lateness:
	@scripts/bench.sh lateness

bench-herd:
	@scripts/bench.sh herd

bench-aim:
	@scripts/bench.sh aim

bench-overhead:
	@scripts/bench.sh overhead

bench-read:
	@cargo bench --locked --bench measure -- read

bench-watch:
	@scripts/bench.sh watch

bench-submit bench-remember:
	@cargo bench --locked --quiet --bench measure -- $(@:bench-%=%)

bench-recovery:
	@cargo bench --locked --bench recovery

scale:
	JOBS=$(JOBS) cargo test --locked --test scale -- --nocapture

bench-scale:
	@JOBS=$(JOBS) cargo bench --locked --bench scale

check: lint
	@scripts/test.sh
	@scripts/image-test.sh

test-image:
	@scripts/image-test.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not installed: left out"; fi

build:
	cargo build --locked --release

image:
	docker build $(IMAGE_ARGS) -t $(IMAGE) .

clean:
	@scripts/podman.sh release
	@scripts/engine.sh release
	@TIDETABLE_ENGINE_DIR=target/demo scripts/engine.sh release
	cargo clean
