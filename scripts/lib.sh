# shellcheck shell=bash
# Shared functions of the scripts in this folder: messages, installation of Debian packages, calls
# to an engine's HTTP API with curl, and the search for leftovers of our own engines. Sourced, never
# run.

# shellcheck disable=SC2034 # for the scripts that source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
NAME=$(basename "$0")

# Messages go to stderr: callers eval the stdout of engine.sh and podman.sh.
say() { printf '%s: %s\n' "$NAME" "$*" >&2; }
die() { say "$*"; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
can_install() { is_root && have apt-get && have dpkg; }

# apt_install PACKAGE...: installs from the distribution's own archive, quietly unless it fails.
apt_install() {
    local log
    log=$(mktemp)
    say "installing $* with apt-get"
    if ! apt_retry update "$log" || ! apt_retry "install -y --no-install-recommends $*" "$log"; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $*"
    fi
    rm -f "$log"
}

# Tries several times, because another apt-get on the machine may hold the lock.
apt_retry() {
    local try
    local -a arguments
    read -ra arguments <<<"$1"
    for try in 1 2 3 4 5; do
        DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "${arguments[@]}" >"$2" 2>&1 </dev/null && return 0
        grep -qi 'lock' "$2" || return 1
        sleep $((try * 3))
    done
    return 1
}

# need COMMAND PACKAGE: makes the command available, or fails with a sentence that names the missing
# one.
need() {
    have "$1" && return 0
    can_install || die "'$1' is missing: install it (Debian and Ubuntu: apt-get install $2) and run this again."
    apt_install "$2"
    have "$1" || die "'$1' is still missing after installing $2."
}

# need_toolchain: checks for cargo, a recent rustc, and the C compiler for the bundled SQLite.
need_toolchain() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    have cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    { have cargo && have rustc; } || die "there is no Rust toolchain: install Rust $wanted or newer (https://rustup.rs) and run this again."
    found=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        die "rustc is $found, and $wanted or newer is needed: run 'rustup update', or install it from https://rustup.rs."
    have cc || need gcc build-essential
}

# api METHOD PATH [CURL ARGUMENT...]: calls the engine at $DOCKER_HOST; prints its answer, fails on
# an HTTP error.
api() {
    local method=$1 path=$2 host=${DOCKER_HOST:?} certs=${DOCKER_CERT_PATH:-$HOME/.docker}
    local -a to
    shift 2
    case $host in
        unix://*) to=(--unix-socket "${host#unix://}" "http://localhost$path") ;;
        tcp://* | https://*)
            if [ -n "${DOCKER_TLS_VERIFY:-}" ] || [[ $host = https://* ]]; then
                to=(--cacert "$certs/ca.pem" --cert "$certs/cert.pem" --key "$certs/key.pem" "https://${host#*://}$path")
            else
                to=("http://${host#tcp://}$path")
            fi ;;
        http://*) to=("$host$path") ;;
        *) die "DOCKER_HOST=$host is not understood: use unix://PATH or tcp://HOST:PORT." ;;
    esac
    curl --silent --fail --noproxy '*' --request "$method" "$@" "${to[@]}"
}

# answers HOST: succeeds if an engine answers there within 5 seconds.
answers() { DOCKER_HOST=$1 api GET /_ping --max-time 5 >/dev/null 2>&1; }

# wait_for SECONDS COMMAND...: repeats the command until it succeeds; fails after SECONDS.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# state_of DIR: sets STATE, ID (a short id of it), and RUN, the directory of sockets. The path of a
# unix socket may have 107 bytes, and engines append long names. So a long state directory gets its
# sockets under /run.
state_of() {
    STATE=$(realpath -m "$1" 2>/dev/null) || STATE=$PWD/${1#"$PWD/"}
    ID=$(printf '%s' "$STATE" | cksum | cut -d ' ' -f 1)
    RUN=$STATE/run
    [ "${#STATE}" -le 50 ] || RUN=/run/tidetable-$ID
    export STATE RUN # for commands in namespaces
}

# Lets only one script at a time touch a state directory. The lock is released when the script ends,
# in any way.
lock_state() {
    mkdir -p "$(dirname "$STATE")"
    exec 8>"$STATE.lock"
    flock 8
}

# in_background LOG COMMAND...: starts it in its own session, so ctrl-C reaches the script and not
# the engine. Closes our open files first: otherwise programs that wait for the end of a pipe or a
# lock would wait for the engine.
in_background() {
    local log=$1 fd
    shift
    (
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || [ "$fd" -ge 255 ] || eval "exec $fd>&-"
        done
        exec setsid "$@" </dev/null >>"$log" 2>&1
    ) &
    # shellcheck disable=SC2034 # for the caller
    LAUNCHED=$!
}

# our_processes PATTERN...: prints the pids of programs with these names that were started for this
# state directory, identified by its path in their arguments. Pid files are wrong after a kill -9;
# arguments are not.
our_processes() {
    local dir program word
    local -a argv
    for dir in /proc/[0-9]*; do
        { mapfile -d '' -t argv <"$dir/cmdline"; } 2>/dev/null || continue
        [ "${#argv[@]}" -gt 0 ] || continue
        for program in "$@"; do
            # shellcheck disable=SC2053 # a pattern
            [[ ${argv[0]##*/} = $program ]] || continue
            for word in "${argv[@]:1}"; do
                [[ $word = *"$RUN"* || $word = *"$STATE/"* ]] && echo "${dir#/proc/}" && break
            done
        done
    done
}

# processes_of TEXT: prints the pids of programs with this text in their arguments, except this
# script.
processes_of() {
    local dir pid
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        if [ "$pid" != "$$" ] && { tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null | grep -qF -- "$1"; then echo "$pid"; fi
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# end_process PID SECONDS: sends SIGTERM, waits, then sends SIGKILL.
end_process() {
    kill -TERM "$1" 2>/dev/null || return 0
    wait_for "$2" gone "$1" && return 0
    kill -KILL "$1" 2>/dev/null || true
    wait_for 5 gone "$1" || true
}

# unmount_below DIR: unmounts everything that an engine left mounted there, innermost first.
unmount_below() {
    local _1 _2 _3 _4 point rest
    while read -r _1 _2 _3 _4 point rest; do
        printf '%b\n' "$point"
    done </proc/self/mountinfo | { grep "^$1/" || true; } | sort -r | while read -r point; do
        umount "$point" 2>/dev/null || umount -l "$point" || true
    done
}

# remember_absent PATH...: records the paths that do not exist yet. Engines write to a few places
# whatever their flags say. remove_absent removes only the recorded paths: files as they are,
# directories if they are empty. Name parents first.
remember_absent() {
    local path
    for path in "$@"; do
        if [ ! -e "$path" ]; then echo "$path" >>"$STATE/absent"; fi
    done
}

remove_absent() {
    local path
    [ -e "$STATE/absent" ] || return 0
    sort -ru "$STATE/absent" | while read -r path; do
        if [ -d "$path" ]; then rmdir "$path" 2>/dev/null || true; else rm -f "$path"; fi
    done
}

# The prefix for a command in its own network and mount namespaces: "${APART[@]}" COMMAND... The
# command cannot change the machine's links, addresses, firewall rules and forwarding. It does not
# see /run, which may contain a containerd, except for $RUN. Its mounts end with it. `ip netns exec`
# is no alternative: it mounts another /sys, in which dockerd would miss its cgroups.
#
# shellcheck disable=SC2034,SC2016 # for the caller; the shell in there expands it
readonly APART=(unshare --net --mount --propagation slave sh -ec '
    ip link set lo up
    case $RUN in /run/*) mkdir -p "$STATE/hidden" && mount -n --bind "$RUN" "$STATE/hidden" ;; esac
    mount -n -t tmpfs -o mode=755 tmpfs /run
    case $RUN in /run/*) mkdir "$RUN" && mount -n --bind "$STATE/hidden" "$RUN" ;; esac
    exec "$@"' apart)

# need_apart: fails unless the machine allows such namespaces.
need_apart() {
    local said
    need unshare util-linux
    need ip iproute2
    mkdir -p "$RUN" "$STATE"
    said=$("${APART[@]}" true 2>&1) ||
        die "this machine has no network and mount namespaces for us ($said), and without them another engine here could lose its network: point DOCKER_HOST at an engine you may use."
}

# end_cgroup NAME: kills all processes in that cgroup, in every hierarchy, and removes it.
end_cgroup() {
    local dir pids
    for dir in /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1"; do
        [ -d "$dir" ] || continue
        pids=$(find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true)
        # shellcheck disable=SC2086 # a list of numbers
        [ -z "$pids" ] || { kill -KILL $pids 2>/dev/null || true; sleep 0.2; }
        find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

# static_busybox: prints the path of a statically linked busybox. If the machine has none, fetches
# one from Debian's archive, without installing it: that could replace the machine's own. Fails if
# neither is possible.
static_busybox() {
    local deb
    if is_static /bin/busybox; then echo /bin/busybox; return; fi
    if ! is_static "$STATE/busybox/bin/busybox"; then
        have apt-get && have dpkg-deb || return 1
        mkdir -p "$STATE/busybox"
        deb=$(cd "$STATE/busybox" && { apt-get -q download busybox-static || { is_root && apt-get -q update && apt-get -q download busybox-static; }; } >/dev/null 2>&1 \
            && ls "$PWD"/*.deb) || return 1
        dpkg-deb -x "$deb" "$STATE/busybox" || return 1
    fi
    is_static "$STATE/busybox/bin/busybox" && echo "$STATE/busybox/bin/busybox"
}

# Checks for the name of a loader (ld-linux, ld-musl), which a dynamic executable has in its first
# pages.
is_static() { [ -x "$1" ] && ! head -c 4096 "$1" | grep -qa '/ld-'; }

# busybox_root DIR: makes the root file system of our image, one static file and its links.
busybox_root() {
    local busybox applet
    busybox=$(static_busybox) || return 1
    rm -rf "$1"
    mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,usr,var}
    chmod 1777 "$1/tmp"
    cp "$busybox" "$1/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
    ln -s ../bin "$1/usr/bin"
    ln -s bin "$1/sbin"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
}
