#!/usr/bin/env bash
# python.sh ensure: provides the Python tools of the tests below target/python, in the versions of
# tests/python/requirements.txt, and prints the folder of their programs.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

DIR=$PWD/target/python
LIST=tests/python/requirements.txt

ensure() {
    if ! cmp -s "$LIST" "$DIR/installed.txt"; then
        say "installing the tools of $LIST"
        rm -rf "$DIR"
        python3 -m venv "$DIR" >&2 || die "python3 cannot make a virtual environment: install python3-venv."
        "$DIR/bin/pip" install -q --disable-pip-version-check -r "$LIST" >&2 ||
            die "the tools of $LIST could not be installed."
        cp "$LIST" "$DIR/installed.txt"
    fi
    echo "$DIR/bin"
}

[ "${1:-}" = ensure ] || die "usage: scripts/python.sh ensure"
ensure
