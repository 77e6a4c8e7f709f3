#!/usr/bin/env bash
# Implements `make test`: provides a Rust toolchain, a registry, a Docker engine and a Podman engine
# with the image for the tests, runs every test against them, and restores the machine, also after
# ctrl-C. Arguments go to `cargo test`. The exit code is that of cargo test. It is 1 if the tests
# passed but the machine, or an engine that was there before, has changed: host.sh prints the
# differences.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

TESTS=
WORK=

main() {
    need_toolchain
    need curl curl
    need openssl openssl # for certificates of an engine with TLS
    need dockerd docker.io # the tests start daemons of their own
    need docker docker.io
    need ip iproute2 # each daemon has its own network
    need iptables iptables # some tests cut that network
    need nsenter util-linux
    need python3 python3 # an oracle for recurrences, with the time zones of the system
    need_venv
    need_zones
    need chromium chromium # the pages are tested in a browser
    need node nodejs
    need npm npm
    one_at_a_time
    need_browser_modules
    need_registry
    need_promtool
    scripts/python.sh ensure >/dev/null
    scripts/podman.sh install 9>&-
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # All files of the tests are below this folder. The path is short, since it contains sockets.
    WORK=$(mktemp -d /tmp/tt-XXXXXX)
    scripts/host.sh snapshot >"$WORK/host"
    ensure_engines
    run_tests "$@"
}

# Lets one run at a time use this directory: two would share engines, and the first to end would
# take them from the other.
one_at_a_time() {
    have flock || return 0
    mkdir -p target
    exec 9>target/.test.lock
    flock -n 9 && return
    say "waiting for another 'make test' in this directory to end"
    flock 9
}

# Provides virtual environments, which Debian has in a package of its own.
need_venv() {
    python3 -c 'import ensurepip' 2>/dev/null && return
    can_install || die "python3 cannot make a virtual environment: install python3-venv (Debian and Ubuntu: apt-get install python3-venv) and run this again."
    apt_install python3-venv
}

need_zones() {
    local zones=/usr/share/zoneinfo
    [ -e "$zones/Europe/Berlin" ] && return
    can_install || die "there is no zone data in $zones: install it (Debian and Ubuntu: apt-get install tzdata) and run this again."
    apt_install tzdata
}

# Installs the pinned modules of the browser tests below target/, if the pins have changed.
need_browser_modules() {
    local dir=target/browser
    mkdir -p "$dir"
    cmp -s tests/browser/package-lock.json "$dir/package-lock.json" && [ -d "$dir/node_modules" ] && return
    say "fetching the modules of the browser tests"
    cp tests/browser/package.json tests/browser/package-lock.json "$dir/"
    (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund) >&2 9>&- ||
        { rm -rf "$dir/node_modules"; die "the modules of the browser tests could not be fetched."; }
}

# Provides the registry program, of which the tests start their own processes. Extracts the package
# without installing it: installed, it would start a service.
need_registry() {
    local dir=$PWD/target/registry
    export TIDETABLE_TEST_REGISTRY
    TIDETABLE_TEST_REGISTRY=$(command -v docker-registry || echo "$dir/usr/bin/docker-registry")
    [ ! -x "$TIDETABLE_TEST_REGISTRY" ] || return 0
    can_install || die "'docker-registry' is missing: install it (Debian and Ubuntu: apt-get install docker-registry) and run this again."
    say "fetching docker-registry"
    mkdir -p "$dir"
    (cd "$dir" && { apt-get -q download docker-registry || { apt-get -q update && apt-get -q download docker-registry; }; }) >&2 ||
        die "docker-registry could not be fetched."
    dpkg-deb -x "$dir"/docker-registry_*.deb "$dir"
}

# Provides promtool, which checks metrics and alerts. The package is extracted, not installed:
# installed, it would start Prometheus.
need_promtool() {
    local dir=$PWD/target/prometheus
    export TIDETABLE_TEST_PROMTOOL
    TIDETABLE_TEST_PROMTOOL=$(command -v promtool || echo "$dir/usr/bin/promtool")
    [ ! -x "$TIDETABLE_TEST_PROMTOOL" ] || return 0
    can_install || die "'promtool' is missing: install it (Debian and Ubuntu: apt-get install prometheus) and run this again."
    say "fetching prometheus"
    mkdir -p "$dir"
    (cd "$dir" && { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; }) >&2 ||
        die "prometheus could not be fetched."
    dpkg-deb -x "$dir"/prometheus_*.deb "$dir"
}

ensure_engines() {
    local settings
    settings=$(scripts/engine.sh ensure 9>&-)
    eval "$settings"
    export DOCKER_HOST
    scripts/engine.sh image 9>&-
    settings=$(scripts/podman.sh ensure 9>&-)
    eval "$settings"
    export TIDETABLE_TEST_PODMAN
    say "Docker at $DOCKER_HOST, Podman at $TIDETABLE_TEST_PODMAN"
}

# Runs cargo in a session of its own, so a signal ends cargo, the tests and their servers together.
run_tests() {
    TMPDIR=$WORK setsid cargo test --locked --no-fail-fast "$@" </dev/null 9>&- &
    TESTS=$!
    wait "$TESTS"
}

put_back() {
    local code=$?
    trap '' INT TERM
    if [ -n "$TESTS" ]; then kill -TERM -- "-$TESTS" 2>/dev/null || true; fi
    if [ -n "$WORK" ]; then sweep || true; fi
    scripts/podman.sh release 9>&- || true
    scripts/engine.sh release 9>&- || true
    if [ -n "$WORK" ]; then
        if ! scripts/host.sh compare "$WORK/host" && [ "$code" = 0 ]; then code=1; fi
        rm -rf --one-file-system "$WORK"
    fi
    exit "$code"
}

# Removes the leftovers of killed tests: all of them are identified by a path below $WORK.
sweep() {
    local pid dir
    for pid in $(processes_of "$WORK/"); do kill -KILL "$pid" 2>/dev/null || true; done
    for dir in "$WORK"/tt??????; do
        if [ -d "$dir" ]; then end_cgroup "$(basename "$dir")"; fi
    done
    sweep_engine "${DOCKER_HOST:-}"
    sweep_engine "${TIDETABLE_TEST_PODMAN:-}"
    unmount_below "$WORK"
}

# sweep_engine HOST: removes the containers of servers with logs below $WORK, the networks and
# volumes that are named like a folder there, and the images of registries that were configured
# there.
sweep_engine() {
    local id name port
    local -x DOCKER_HOST=$1
    [ -n "$1" ] && answers "$1" || return 0
    for name in $(grep -rhoE --include=log 'instance=[0-9a-f]{32}' "$WORK" 2>/dev/null | sort -u); do
        for id in $(docker ps -aq --filter "label=tidetable.$name"); do
            docker rm -fv "$id" >/dev/null 2>&1 || true
        done
    done
    for name in "$WORK"/tidetable-spec-*; do
        name=$(basename "$name" | tr '[:upper:]' '[:lower:]')
        docker network rm "$name" >/dev/null 2>&1 || true
        docker volume rm -f "$name" >/dev/null 2>&1 || true
    done
    for port in $(sed -n "s/^http: {addr: '127.0.0.1:\([0-9]*\)'}/\1/p" "$WORK"/tidetable-registry-*/config.yml 2>/dev/null); do
        for name in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep "/team-$port/"); do
            docker rmi -f "$name" >/dev/null 2>&1 || true
        done
    done
}

main "$@"
