#!/usr/bin/env bash
# Owns `make bench`: sees to an engine and to the peers, measures, and puts all back. Arguments go to the benchmark: what it is to
# measure. The figures are on stdout, as JSON; the tables, and all else, on stderr.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

readonly PEERS_DIR=$PWD/target/peers

main() {
    local settings
    need_toolchain
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

# Without them the benchmark goes on, and its tables lack a row.
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

# need_ofelia VARIABLE OWNER: that names a program, or go can have its newest release.
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
