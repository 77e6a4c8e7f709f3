#!/usr/bin/env bash
# Implements `make bench` and `make bench-NAME`: provides an engine and the other schedulers for
# comparison where a measurement needs them, runs the benchmark, and restores the machine. Arguments
# select measurements; without one, all are made. The figures go to stdout as JSON, the tables and
# everything else to stderr.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

readonly PEERS_DIR=$PWD/target/peers

main() {
    local settings
    need_toolchain
    case "$*" in
        recovery | scale) exec cargo bench --locked --bench "$1" ;;
        # These need no engine.
        submit | remember | read) exec cargo bench --locked --quiet --bench measure -- "$1" ;;
    esac
    need curl curl
    need docker docker.io
    need_peers
    cargo bench --locked --no-run --bench measure
    trap 'scripts/engine.sh release || true' EXIT
    settings=$(scripts/engine.sh ensure)
    eval "$settings"
    export DOCKER_HOST
    scripts/engine.sh image
    cargo bench --locked --quiet --bench measure -- "$@"
}

# Installs the other schedulers. If one is missing, the benchmark continues, and its tables lack a
# row.
need_peers() {
    if [ -z "${PEERS:-}" ] && have python3; then
        if python3 -m venv "$PEERS_DIR" >&2 && "$PEERS_DIR/bin/pip" -q install 'apscheduler<4' docker >&2; then
            PEERS=$PEERS_DIR/bin/python
        else
            say "APScheduler and docker cannot be had from PyPI: left out"
        fi
    fi
    export PEERS=${PEERS:-}
    need_ofelia OFELIA mcuadros
    need_ofelia OFELIA_NETRESEARCH netresearch
}

# need_ofelia VARIABLE OWNER: makes VARIABLE name a program, if necessary by installing the newest
# release with go.
need_ofelia() {
    local -n program=$1
    if [ -z "${program:-}" ]; then
        program=$PEERS_DIR/$2/ofelia
        if [ ! -x "$program" ] && ! { have go && GOBIN=$PEERS_DIR/$2 go install "github.com/$2/ofelia@latest" >&2; }; then
            say "$2/ofelia cannot be had from the Go module proxy, and $1 does not say where it is: left out"
            program=
        fi
    fi
    export "${!program?}"
}

main "$@"
