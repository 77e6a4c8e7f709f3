#!/usr/bin/env bash
# Provides the Podman engine that `make test` checks against the same contract as Docker.
#
#   eval "$(scripts/podman.sh ensure)"     provides it and busybox; prints TIDETABLE_TEST_PODMAN=…
#   scripts/podman.sh release              stops it and removes everything that it made
#
# If the socket in $TIDETABLE_TEST_PODMAN answers, uses it as it is. Otherwise starts `podman system
# service` with everything private: storage, sockets and configuration in $TIDETABLE_PODMAN_DIR
# (target/podman), network and mounts in their own namespaces. Neither reads nor writes the
# machine's own containers, images and containers.conf. On Debian and Ubuntu as root, installs
# missing packages; `podman.sh install` does only that.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

readonly START_SECONDS=30
# The name by which Podman's Docker-compatible API looks for `busybox:latest`.
readonly IMAGE=docker.io/library/busybox:latest

state_of "${TIDETABLE_PODMAN_DIR:-$ROOT/target/podman}"
readonly OUR_HOST=unix://$RUN/podman.sock

main() {
    case ${1:-} in
        ensure) need curl curl && ensure ;;
        install) is_there || install_podman ;;
        release) release ;;
        *) die "usage: podman.sh ensure|install|release" ;;
    esac
}

# Runs podman with our storage and configuration, in the namespaces of the service if it is running.
ours() {
    local service
    local -a there=("${APART[@]}")
    service=$(our_processes podman | head -n 1)
    [ -z "$service" ] || there=(nsenter --target "$service" --net --mount)
    CONTAINERS_CONF=$STATE/containers.conf CONTAINERS_REGISTRIES_CONF=$STATE/registries.conf \
        "${there[@]}" podman --root "$STATE/data" --runroot "$RUN/storage" --storage-driver "$(cat "$STATE/driver")" "$@"
}

# --- ensure ---------------------------------------------------------------------------------------

ensure() {
    local host=${TIDETABLE_TEST_PODMAN:-$OUR_HOST}
    if ! answers "$host"; then
        host=$OUR_HOST
        start_our_own
    fi
    if [ "$host" = "$OUR_HOST" ]; then load_image; fi
    printf 'TIDETABLE_TEST_PODMAN=%q\n' "$host"
}

is_there() { answers "${TIDETABLE_TEST_PODMAN:-$OUR_HOST}"; }

start_our_own() {
    local pid
    install_podman
    need flock util-linux
    need_apart
    lock_state
    if answers "$OUR_HOST"; then return; fi
    for pid in $(our_processes podman); do end_process "$pid" 10; done
    rm -f "$RUN/podman.sock"
    configure
    in_background "$STATE/podman.log" \
        env CONTAINERS_CONF="$STATE/containers.conf" CONTAINERS_REGISTRIES_CONF="$STATE/registries.conf" \
        "${APART[@]}" podman --root "$STATE/data" --runroot "$RUN/storage" --storage-driver "$(cat "$STATE/driver")" \
        system service --time 0 "$OUR_HOST"
    if ! wait_for "$START_SECONDS" settled || ! answers "$OUR_HOST"; then
        tail -n 5 "$STATE/podman.log" >&2
        end_process "$LAUNCHED" 10
        die "podman's service does not come up here (its last lines are above): point TIDETABLE_TEST_PODMAN at a socket of one that does."
    fi
    say "started podman system service: pid $LAUNCHED, $OUR_HOST"
}

# Succeeds once the engine answers or its process has ended.
settled() { answers "$OUR_HOST" || gone "$LAUNCHED"; }

install_podman() {
    local -a missing=()
    have podman || missing+=(podman)
    have runc || missing+=(runc)
    if [ "${#missing[@]}" -gt 0 ]; then
        can_install || die "install podman and runc, or set TIDETABLE_TEST_PODMAN to the socket of a 'podman system service', or run this as root on Debian or Ubuntu."
        apt_install "${missing[@]}"
    fi
    if with_cni; then
        [ -n "$(cni_plugins)" ] || install_network "$(cni_plugins)" containernetworking-plugins
    elif ! have /usr/lib/podman/netavark && ! have /usr/libexec/podman/netavark; then
        install_network "" netavark
    fi
}

install_network() {
    can_install || die "podman has no network plugins: install $2."
    apt_install "$2"
}

# Checks the version: Podman 5 supports netavark only.
with_cni() { [ "$(podman --version | grep -o '[0-9]*' | head -n 1)" -lt 5 ]; }

cni_plugins() {
    local dir
    for dir in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
        if [ -x "$dir/bridge" ]; then echo "$dir"; return; fi
    done
}

configure() {
    mkdir -p "$STATE"/{data,net.d,runtime} "$RUN"
    chmod 700 "$STATE"
    # Podman uses one cgroup for all its containers, of all users.
    local cgroups
    for cgroups in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        remember_absent "${cgroups%/}/libpod_parent" "${cgroups%/}/libpod_parent/conmon"
    done
    remember_absent /var/lib/cni /var/lib/cni/results /var/lib/containers /var/lib/containers/cache /var/lib/containers/cache/blob-info-cache-v1.boltdb
    write_runtime
    write_network
    write_containers_conf
    write_registries_conf
    choose_driver
}

# Chooses the runtime. Podman's API asks for 1048576 open files and processes for each container
# without a limit. Without CAP_SYS_RESOURCE, nobody may raise the machine's limit, not even root;
# then the runtime is runc behind a filter that drops the request.
write_runtime() {
    local runc
    runc=$(command -v runc)
    if may_raise_limits; then
        ln -sf "$runc" "$STATE/runtime/runc"
        return
    fi
    cat >"$STATE/runtime/runc" <<FILTER
#!/bin/sh
for word; do
    [ "\$previous" != --bundle ] || sed -i -E \\
        -e 's/\{"type":"RLIMIT_(NOFILE|NPROC)","hard":1048576,"soft":1048576\},?//g' \\
        -e 's/("rlimits":\[[^]]*),\]/\1]/' -e 's/,?"rlimits":\[\]//' "\$word/config.json"
    previous=\$word
done
exec "$runc" "\$@"
FILTER
    chmod +x "$STATE/runtime/runc"
}

may_raise_limits() {
    local effective
    effective=$(sed -n 's/^CapEff:\t//p' /proc/self/status)
    (((0x$effective >> 24) & 1))
}

# Writes Podman's default network, with addresses from the range that is reserved for tests. Its
# containers reach only each other.
write_network() {
    with_cni || return 0
    cat >"$STATE/net.d/87-podman.conflist" <<CNI
{
  "cniVersion": "0.4.0",
  "name": "podman",
  "plugins": [
    {
      "type": "bridge", "bridge": "podman0", "isGateway": false, "ipMasq": false,
      "ipam": {
        "type": "host-local", "dataDir": "$STATE/cni",
        "ranges": [[{ "subnet": "198.18.0.0/24" }]]
      }
    }
  ]
}
CNI
}

# Writes the configuration. Uses runc, because crun refuses machines that mount both generations of
# cgroups.
write_containers_conf() {
    cat >"$STATE/containers.conf" <<CONF
[containers]
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$RUN/libpod"
volume_path = "$STATE/data/volumes"

[engine.runtimes]
runc = ["$STATE/runtime/runc"]

[network]
network_config_dir = "$STATE/net.d"
CONF
    if with_cni; then
        printf 'network_backend = "cni"\ncni_plugin_dirs = ["%s"]\n' "$(cni_plugins)"
    else
        printf 'network_backend = "netavark"\nfirewall_driver = "none"\n'
    fi >>"$STATE/containers.conf"
}

# Allows registries on this machine without TLS, as Docker does: the tests start one.
write_registries_conf() {
    printf '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n' >"$STATE/registries.conf"
}

# Chooses the storage driver once: the storage remembers it.
choose_driver() {
    local driver
    [ ! -e "$STATE/driver" ] || return 0
    for driver in overlay vfs; do
        echo "$driver" >"$STATE/driver"
        if ours info >"$STATE/podman.log" 2>&1; then return; fi
        rm -rf --one-file-system "$STATE/data" "$RUN/storage"
    done
    tail -n 3 "$STATE/podman.log" >&2
    rm -f "$STATE/driver"
    die "podman does not work on this machine (its last lines are above): point TIDETABLE_TEST_PODMAN at a socket of one that does."
}

load_image() {
    ours image exists "$IMAGE" && return
    busybox_root "$STATE/rootfs" || die "could not make busybox:latest: Debian's busybox-static, which it is made of, cannot be had here."
    tar -C "$STATE/rootfs" --owner=0 --group=0 --numeric-owner -c . |
        ours import --quiet --change 'ENV PATH=/bin' --change 'CMD ["sh"]' - "$IMAGE" >/dev/null
    rm -rf "$STATE/rootfs"
    say "made busybox:latest from Debian's static busybox"
}

# --- release --------------------------------------------------------------------------------------

release() {
    local pid
    [ -d "$STATE" ] || [ -d "$RUN" ] || return 0
    if have flock; then lock_state; fi
    if [ -e "$STATE/driver" ]; then
        say "stopping the podman that was started here, with all that is in it"
        ours rm --all --force --time 0 >/dev/null 2>&1 || true
        ours network prune --force >/dev/null 2>&1 || true
    fi
    for pid in $(our_processes podman conmon); do end_process "$pid" 10; done
    remove_absent
    rm -rf --one-file-system "$STATE" "$RUN"
    rm -f "$STATE.lock"
}

main "$@"
