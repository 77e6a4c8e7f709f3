#!/usr/bin/env bash
# Owns `make test`: sees to a Rust toolchain, a registry, a Docker and a Podman engine, each with the image the tests use, runs every
# test against them, and puts all back, also after ctrl-C. Arguments go to `cargo test`. The exit code is that of cargo test; and it is 1
# where the tests passed, but the machine, or an engine that was there before, is not as it was: host.sh says what is different.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

TESTS=
WORK=

main() {
    need_toolchain
    need curl curl
    need openssl openssl # the tests make certificates for an engine behind TLS
    need dockerd docker.io # and run a daemon of their own there
    need docker docker.io
    need ip iproute2 # on a network of its own
    need iptables iptables # that is cut
    need nsenter util-linux
    need python3 python3 # an oracle for recurrences, that has its zones from the system
    need_zones
    one_at_a_time
    need_registry
    scripts/podman.sh install 9>&-
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # All that the tests make is below this. Short, since sockets are in there.
    WORK=$(mktemp -d /tmp/tt-XXXXXX)
    scripts/host.sh snapshot >"$WORK/host"
    ensure_engines
    run_tests "$@"
}

# Two runs in one directory would share engines, and the first to end would take them from the other.
one_at_a_time() {
    have flock || return 0
    mkdir -p target
    exec 9>target/.test.lock
    flock -n 9 && return
    say "waiting for another 'make test' in this directory to end"
    flock 9
}

need_zones() {
    local zones=/usr/share/zoneinfo
    [ -e "$zones/Europe/Berlin" ] && return
    can_install || die "there is no zone data in $zones: install it (Debian and Ubuntu: apt-get install tzdata) and run this again."
    apt_install tzdata
}

# The tests start a registry of their own. It is extracted, not installed: the package would start a service.
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

# In a session of its own, so that a signal ends cargo, the tests and the servers that they started, all together.
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

# What tests that were killed could not take away themselves: all of it is known by a path below $WORK.
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

# sweep_engine HOST: the containers of the servers whose logs are there, the networks and volumes that are named like a folder
# there, and the images of the registries that had their configuration there.
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
