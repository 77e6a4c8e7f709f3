#!/usr/bin/env bash
# Provides the Docker engine for `make demo` and `make test`.
#
#   eval "$(scripts/engine.sh ensure)"     makes an engine reachable; prints DOCKER_HOST=…
#   scripts/engine.sh image                gives that engine busybox:latest, without any registry
#   scripts/engine.sh within COMMAND...    runs it on the engine's network, to reach its loopback
#   scripts/engine.sh release              stops and removes only what ensure and image made
#
# Uses the engine at DOCKER_HOST or at the default socket as it is, and leaves it as it was. If none
# answers, on Debian or Ubuntu as root, installs docker.io and starts a dockerd of its own. That
# dockerd keeps its data, sockets and pid file in $TIDETABLE_ENGINE_DIR (target/engine), and has a
# cgroup and network and mount namespaces of its own. So it affects no other engine on the machine
# and leaves no trace. Its containers reach each other, and nothing else.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly DEFAULT_SOCKET=unix:///var/run/docker.sock
readonly START_SECONDS=60
readonly STOP_SECONDS=30
readonly IMAGE=busybox:latest

state_of "${TIDETABLE_ENGINE_DIR:-$ROOT/target/engine}"
readonly OUR_HOST=unix://$RUN/docker.sock
readonly OUR_CGROUP=tidetable-$ID
readonly IMAGE_NOTE=$STATE/image-made

main() {
    case ${1:-} in
        ensure) need curl curl && ensure ;;
        image) need curl curl && image ;;
        within) within "${@:2}" ;;
        release) release ;;
        *) die "usage: engine.sh ensure|image|within|release" ;;
    esac
}

# --- ensure ---------------------------------------------------------------------------------------

ensure() {
    local host
    if ! host=$(find_engine); then
        start_our_own
        host=$(find_engine)
    fi
    printf 'DOCKER_HOST=%q\n' "$host"
}

find_engine() {
    local host
    for host in ${DOCKER_HOST:+"$DOCKER_HOST"} "$DEFAULT_SOCKET" "$OUR_HOST"; do
        if answers "$host"; then echo "$host"; return; fi
    done
    return 1
}

start_our_own() {
    say "no engine answers at ${DOCKER_HOST:-$DEFAULT_SOCKET}"
    is_root || die "start Docker, or point DOCKER_HOST at an engine you may use, or run this as root on Debian or Ubuntu, where it starts one itself."
    if ! have dockerd; then
        can_install || die "install Docker and start it, or point DOCKER_HOST at an engine."
        install_docker
        # The package may have started the machine's own service; then use that engine.
        if wait_for 3 answers "$DEFAULT_SOCKET"; then
            say "the docker service that came with the package is running; using it"
            return
        fi
    fi
    need flock util-linux
    need_apart
    lock_state
    if answers "$OUR_HOST"; then return; fi
    end_unresponsive
    try_start "on a network of its own" ||
        try_start "without a bridge (containers get network none or host)" --bridge=none ||
        try_start "without a bridge, with the vfs storage driver" --bridge=none --storage-driver=vfs ||
        {
            tail -n 5 "$STATE/dockerd.log" >&2
            die "dockerd does not come up here (its last lines are above): start an engine elsewhere and point DOCKER_HOST at it."
        }
}

install_docker() {
    local packages=(docker.io iptables)
    [ -e /bin/busybox ] || packages+=(busybox-static)
    apt_install "${packages[@]}"
}

# Waits for a dockerd of ours that is still starting, and ends one that hangs.
end_unresponsive() {
    local pid
    for pid in $(our_processes dockerd); do
        if wait_for 10 answers "$OUR_HOST"; then return; fi
        say "ending a dockerd of ours that does not answer (pid $pid)"
        end_process "$pid" "$STOP_SECONDS"
    done
    forget_stale_pid
}

# Removes stale pid files: dockerd refuses to start while any process has the number in its pid
# file, even if that process is not a dockerd.
forget_stale_pid() {
    local file
    for file in "$RUN/dockerd.pid" "$RUN/exec/containerd/containerd.pid"; do
        if [ -e "$file" ] && ! our_processes dockerd containerd | grep -qx "$(cat "$file")"; then
            say "removing the stale pid file $file"
            rm -f "$file"
        fi
    done
}

# try_start WORDS [FLAG...]: starts our dockerd with these flags; WORDS describe them in messages.
try_start() {
    local words=$1
    shift
    prepare_state
    in_background "$STATE/dockerd.log" "${APART[@]}" dockerd \
        --config-file="$STATE/daemon.json" --host="$OUR_HOST" --pidfile="$RUN/dockerd.pid" \
        --data-root="$STATE/data" --exec-root="$RUN/exec" \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent="/$OUR_CGROUP" \
        --iptables=false --ip6tables=false --ip-forward=false "$@"
    if wait_for "$START_SECONDS" settled && answers "$OUR_HOST"; then
        say "started dockerd $words: pid $(cat "$RUN/dockerd.pid"), $OUR_HOST, log $STATE/dockerd.log"
        return
    fi
    say "dockerd did not come up $words: $(tail -n 1 "$STATE/dockerd.log")"
    end_process "$LAUNCHED" "$STOP_SECONDS"
    forget_stale_pid
    return 1
}

# Succeeds once the engine answers or its process has ended.
settled() { answers "$OUR_HOST" || gone "$LAUNCHED"; }

prepare_state() {
    mkdir -p "$STATE/data" "$RUN"
    chmod 700 "$STATE"
    # Uses its own configuration file, since the machine's /etc/docker/daemon.json may contradict
    # our flags. Up to version 24, dockerd would also keep its identity in /etc/docker.
    if grep -qa deprecated-key-path "$(command -v dockerd)"; then
        printf '{"deprecated-key-path": "%s"}\n' "$STATE/key.json"
    else
        echo '{}'
    fi >"$STATE/daemon.json"
}

# within COMMAND...: enters the network of our own engine; any other engine is on the current one.
within() {
    local pid
    if [ "$(find_engine)" = "$OUR_HOST" ]; then
        for pid in $(our_processes dockerd); do exec nsenter --target "$pid" --net "$@"; done
    fi
    exec "$@"
}

# --- image ----------------------------------------------------------------------------------------

image() {
    local host
    host=$(find_engine) || die "no engine answers at ${DOCKER_HOST:-$DEFAULT_SOCKET}: run 'scripts/engine.sh ensure' first."
    DOCKER_HOST=$host
    [ -z "$(image_id)" ] || return 0
    mkdir -p "$STATE"
    import_image || pull_image || die "could not make $IMAGE here (Debian's busybox-static is what it is made of): put an image of that name on the engine."
    printf '%s\n%s\n' "$DOCKER_HOST" "$(image_id)" >"$IMAGE_NOTE"
}

image_id() { api GET "/images/$IMAGE/json" 2>/dev/null | grep -o '"Id":"[^"]*"' | head -n 1 | cut -d '"' -f 4 || true; }

import_image() {
    same_architecture && busybox_root "$STATE/rootfs" || return 1
    # The encoded form of changes=ENV PATH=/bin, changes=CMD ["sh"].
    tar -C "$STATE/rootfs" --owner=0 --group=0 --numeric-owner -c . |
        api POST "/images/create?fromSrc=-&repo=${IMAGE%:*}&tag=${IMAGE#*:}&changes=ENV%20PATH%3D%2Fbin&changes=CMD%20%5B%22sh%22%5D" \
            --header 'Content-Type: application/x-tar' --data-binary @- >/dev/null
    rm -rf "$STATE/rootfs"
    [ -n "$(image_id)" ] && say "made $IMAGE from Debian's static busybox"
}

# Compares architectures: an engine on another machine may not run this machine's binaries.
same_architecture() {
    local theirs ours
    theirs=$(api GET /version | grep -o '"Arch":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
    case $(uname -m) in x86_64) ours=amd64 ;; aarch64) ours=arm64 ;; armv7l) ours=arm ;; *) ours=$(uname -m) ;; esac
    [ "$(uname -s)" = Linux ] && [ "$theirs" = "$ours" ]
}

pull_image() {
    say "pulling $IMAGE"
    api POST "/images/create?fromImage=${IMAGE%:*}&tag=${IMAGE#*:}" --max-time 120 >/dev/null
    [ -n "$(image_id)" ]
}

# --- release --------------------------------------------------------------------------------------

release() {
    [ -d "$STATE" ] || [ -d "$RUN" ] || return 0
    if have flock; then lock_state; fi
    remove_image
    if [ -e "$STATE/data" ] || [ -n "$(our_processes dockerd containerd)" ]; then stop_our_own; fi
    rm -rf --one-file-system "$STATE" "$RUN"
    rm -f "$STATE.lock"
}

# Removes our image from an engine that was found. Our own engine is removed as a whole.
remove_image() {
    local host id
    { read -r host && read -r id; } 2>/dev/null <"$IMAGE_NOTE" || return 0
    [ "$host" != "$OUR_HOST" ] && answers "$host" || return 0
    DOCKER_HOST=$host
    [ "$(image_id)" = "$id" ] || return 0
    api DELETE "/images/$IMAGE" >/dev/null 2>&1 || say "left $IMAGE on $host: a container there uses it"
}

stop_our_own() {
    local pid
    say "stopping the dockerd that was started here, with all that is in it"
    if answers "$OUR_HOST"; then remove_containers; fi
    for pid in $(our_processes dockerd); do end_process "$pid" "$STOP_SECONDS"; done
    # Ends the processes that a killed dockerd could not end.
    for pid in $(our_processes containerd 'containerd-shim*'); do end_process "$pid" 5; done
    end_cgroup "$OUR_CGROUP"
}

remove_containers() {
    local id
    DOCKER_HOST=$OUR_HOST
    for id in $(api GET '/containers/json?all=1' | grep -o '"Id":"[0-9a-f]*"' | cut -d '"' -f 4); do
        api DELETE "/containers/$id?force=1&v=1" >/dev/null || true
    done
}

main "$@"
