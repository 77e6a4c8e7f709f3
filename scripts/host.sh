#!/usr/bin/env bash
# Proves that a run of the tests changes nothing of the machine and of an engine that was there
# before.
#
#   scripts/host.sh snapshot               prints the state of the machine, one line for each thing
#   scripts/host.sh compare FILE           fails and prints the differences if the state has changed
#
# Other programs may use the machine meanwhile. For this reason, a snapshot leaves out things that
# come and go with containers (their veth pairs, rules, mounts). A link counts as up if it is
# configured so, whether or not anything is connected. A new mount, and a new object of an engine,
# counts only if its name has the form of ours.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

main() {
    case ${1:-} in
        snapshot) snapshot ;;
        compare) compare "$2" ;;
        *) die "usage: host.sh snapshot|compare FILE" ;;
    esac
}

snapshot() {
    { links; addresses; rules; settings; namespaces; mounts; files; engine; } | LC_ALL=C sort -u
}

compare() {
    local now gone new ours
    ours="^mount ($ROOT/target|$(dirname "$1"))/|^image 127\.0\.0\.1:|^(network|volume) tidetable-spec-"
    now=$(snapshot)
    gone=$(LC_ALL=C comm -23 "$1" - <<<"$now" | sed 's/^/- /')
    new=$(LC_ALL=C comm -13 "$1" - <<<"$now" |
        grep -E -e '^(link|address|iptables-save|ip6tables-save|sysctl|netns|file|folder|run|cgroup) ' -e "$ours" | sed 's/^/+ /' || true)
    [ -n "$gone$new" ] || return 0
    say "the machine is not as it was before (- what is gone, + what is new):"
    printf '%s\n' ${gone:+"$gone"} ${new:+"$new"} >&2
    return 1
}

# Prints the index, name and flags of each link, and its bridge.
links() {
    ip -o -d link show | grep -Ev ' veth ' |
        sed -nE 's/^([0-9]+): ([^:@]+)(@[^:]+)?: <([^>]*)> (.*)$/\2 \1 \4 \5/p' | while read -r name index flags rest; do
        case ,$flags, in *,UP,*) flags=up ;; *) flags=down ;; esac
        printf 'link %s, number %s, %s%s\n' "$name" "$index" "$flags" "$(grep -oE ' master [^ ]+' <<<" $rest" || true)"
    done
}

# Prints configured addresses, and leaves out those that the kernel assigns when a link comes up.
addresses() {
    ip -o address show | awk '$2 !~ /^veth/ && $0 !~ /scope link|temporary/ { print "address", $2, $3, $4 }'
}

# Prints rules without counters, and leaves out rules for the address of a single container.
rules() {
    local program
    for program in iptables-save ip6tables-save; do
        ! have "$program" || "$program" 2>/dev/null | sed -E -e 's/ ?\[[0-9]+:[0-9]+\]//' -e "s/^/$program /" |
            grep -Ev '^[^ ]+ #|-[sd] [0-9a-f.:]+/(32|128) ' || true
    done
}

settings() {
    local name
    for name in net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv6/conf/default/forwarding \
        net/bridge/bridge-nf-call-iptables net/ipv4/conf/all/route_localnet; do
        [ ! -r "/proc/sys/$name" ] || printf 'sysctl %s = %s\n' "$name" "$(cat "/proc/sys/$name")"
    done
}

namespaces() {
    find /run/netns -mindepth 1 -maxdepth 1 ! -name 'cni-*' ! -name 'netns-*' -printf 'netns %f\n' 2>/dev/null || true
}

mounts() {
    awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) !~ /^(overlay|nsfs)$/ && $(i + 2) !~ /^(shm|tidetable-test)$/) print "mount", $5 }' /proc/self/mountinfo |
        grep -Ev '^mount (/run/user|/media|/snap)/' 
}

# Prints a checksum of every file in the configuration folders of engines, the entries of engines
# in /run, and their cgroups.
files() {
    local file
    for file in $(find /etc/docker /etc/containers -type f 2>/dev/null); do
        printf 'file %s %s\n' "$file" "$(cksum <"$file" | cut -d ' ' -f 1)"
    done
    find /etc/docker /etc/containers -type d -printf 'folder %p\n' 2>/dev/null || true
    find /run -mindepth 1 -maxdepth 2 -regextype egrep \
        -regex '/run/(docker|containerd|containers|runc|crun|libpod|podman|netns)[^/]*(/[^/]*)?' -printf 'run %p\n' 2>/dev/null || true
    find /sys/fs/cgroup -maxdepth 2 -type d -regextype egrep -regex '.*/(docker|libpod_parent|kubepods)' -printf 'cgroup %p\n'
}

# Prints the objects of the engine that was found, unless it is ours. Leaves out containers that
# remove themselves when they end.
engine() {
    local host
    for host in ${DOCKER_HOST:+"$DOCKER_HOST"} unix:///var/run/docker.sock; do
        if [[ $host != *"$ROOT"/target/* && $host != unix:///run/tidetable-* ]] && answers "$host"; then
            DOCKER_HOST=$host
            things
            return
        fi
    done
}

things() {
    local id
    for id in $(names_of '/containers/json?all=1' Id); do
        api GET "/containers/$id/json" 2>/dev/null | grep -q '"AutoRemove":true' || echo "container $id"
    done
    api GET '/images/json' | grep -o '"RepoTags":\[[^]]*\]' | grep -o '"[^"]*:[^"]*"' | tr -d '"' |
        grep -Ev '^(RepoTags:|busybox:latest$)' | sed 's/^/image /' || true
    names_of /networks Name | sed 's/^/network /'
    names_of /volumes Name | sed 's/^/volume /'
}

# names_of PATH FIELD: prints the values of FIELD in the engine's answer, sorted.
names_of() { api GET "$1" | grep -o "\"$2\":\"[^\"]*\"" | cut -d '"' -f 4 | sort -u || true; }

main "$@"
