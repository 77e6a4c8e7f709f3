#!/usr/bin/env bash
# Tests the container image: it builds without a registry, is small, contains only the binary and
# certificates, runs as an unprivileged user, becomes healthy, and runs a job on the engine of its
# socket.
#
# `make check` runs this script after the tests. It removes everything that it makes on the engine,
# and stops an engine that it started.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

readonly NAME=tidetable-image-test-$$
readonly BASE=$NAME-builder:local
readonly IMAGE=$NAME:local
readonly MOST_BYTES=30000000
WORK=$(mktemp -d)

main() {
    need docker docker.io
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local settings
    settings=$(scripts/engine.sh ensure)
    eval "$settings"
    export DOCKER_HOST
    scripts/engine.sh image
    [[ $DOCKER_HOST = unix://* ]] || die "the image's test gives the container the engine's socket, and DOCKER_HOST is $DOCKER_HOST"
    build
    holds_nothing_else
    runs_a_job
    say "the image is as it is said to be"
}

build() {
    say "building the image, without a registry"
    scripts/image-offline.sh "$BASE" >"$WORK/base.log" 2>&1 || show_and_die "$WORK/base.log"
    DOCKER_BUILDKIT=0 docker build --network none --build-arg "RUST_IMAGE=$BASE" -t "$IMAGE" . >"$WORK/build.log" 2>&1 ||
        show_and_die "$WORK/build.log"
}

show_and_die() {
    tail -n 20 "$1" >&2
    die "the image does not build"
}

holds_nothing_else() {
    local bytes user files
    bytes=$(docker image inspect --format '{{.Size}}' "$IMAGE")
    [ "$bytes" -lt "$MOST_BYTES" ] || die "the image has $bytes bytes, and is to have less than $MOST_BYTES"
    user=$(docker image inspect --format '{{.Config.User}}' "$IMAGE")
    [ "$user" = 65532:65532 ] || die "the image runs as '$user'"
    docker create --name "$NAME" "$IMAGE" >/dev/null
    # The engine creates dev, etc/hosts and the like for each container, as empty files.
    files=$(docker export "$NAME" | tar --list --verbose | awk '$1 ~ /^-/ && $3 > 0 {print $6}' | sort | tr '\n' ' ')
    docker rm --volumes "$NAME" >/dev/null
    [ "$files" = "etc/ssl/certs/ca-certificates.crt tidetable " ] || die "the image holds: $files"
    say "the image has $bytes bytes: the binary and certificates"
}

runs_a_job() {
    local token socket url id
    socket=${DOCKER_HOST#unix://}
    token=0123456789abcdef0123456789abcdef
    printf '%s\n' "$token" >"$WORK/token"
    chmod 644 "$WORK/token"
    chmod 755 "$WORK"
    docker run --detach --name "$NAME" --group-add "$(stat -c %g "$socket")" --publish 127.0.0.1::8888 \
        --volume "$socket:/var/run/docker.sock" --volume "$WORK/token:/run/token:ro" \
        --env TIDETABLE_TOKEN_FILE=/run/token --health-interval 1s --read-only "$IMAGE" >/dev/null
    wait_for 30 is_healthy || { docker logs "$NAME" >&2; die "the container is not found healthy"; }
    url=http://$(docker port "$NAME" 8888/tcp | sed -n 1p)
    id=$(ask --show-error --fail --header "Authorization: Bearer $token" "$url/job" \
        --form job_name=busybox:latest --form date=now --form network=none --form 'command=echo from inside' |
        sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p')
    [ -n "$id" ] || die "the job was not accepted"
    ask --max-time 60 --header "Authorization: Bearer $token" "$url/job/$id/wait" | grep -q '"status":"succeeded"' ||
        { docker logs "$NAME" >&2; die "the job did not succeed"; }
    [ "$(ask --header "Authorization: Bearer $token" "$url/job/$id/logs")" = "from inside" ] || die "its output is not there"
    [ "$(ask --output /dev/null --write-out '%{http_code}' "$url/jobs")" = 401 ] || die "it is open without a token"
    say "its container ran a job on the engine whose socket it was given"
}

# Calls the server from the engine's network: its port is on the loopback there.
ask() { scripts/engine.sh within curl --silent "$@"; }

is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$NAME")" = healthy ]; }

put_back() {
    local code=$?
    trap '' INT TERM
    docker rm --force --volumes "$NAME" >/dev/null 2>&1 || true
    docker image rm --force "$IMAGE" "$BASE" >/dev/null 2>&1 || true
    docker image prune --force --filter label=tidetable.build=true >/dev/null 2>&1 || true
    scripts/engine.sh release || true
    rm -rf "$WORK"
    exit "$code"
}

main "$@"
