#!/usr/bin/env bash
# Makes the builder base for the Dockerfile without a registry: an image of this machine's own Rust
# toolchain, of the Debian packages that a musl build needs, and of the crates that cargo has
# fetched. Needs rustup, and Debian or Ubuntu with root (it installs missing packages).
#
#   scripts/image-offline.sh [NAME]     default tidetable-builder:local
#   docker build --network none --build-arg RUST_IMAGE=NAME .
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

readonly IMAGE=${1:-tidetable-builder:local}
# The programs that the build's steps run. Their dependencies are added.
readonly PACKAGES=(dash coreutils sed findutils gcc libc6-dev musl-tools ca-certificates)
DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}

main() {
    need curl curl
    answers "$DOCKER_HOST" || die "no engine answers at $DOCKER_HOST: eval \"\$(scripts/engine.sh ensure)\" starts one."
    need_toolchain
    have rustup || die "the toolchain does not come from rustup, which is needed to add the musl target to it."
    can_install || die "this needs apt-get, dpkg and root."
    have musl-gcc || need musl-gcc musl-tools
    cargo fetch --locked
    local target sysroot cargo_home list
    target=$(uname -m)-unknown-linux-musl
    rustup target add "$target"
    sysroot=$(rustc --print sysroot)
    cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
    list=$(mktemp)
    # shellcheck disable=SC2064 # the name as it is now
    trap "rm -f '$list'" EXIT
    { list_packages; list_toolchain "$sysroot" "$target"; list_crates "$cargo_home"; } | sort -u >"$list"
    say "making $IMAGE of $(wc -l <"$list") files"
    import "$sysroot" "$cargo_home" <"$list"
}

# Prints the files of the packages without their documentation, and the links that dpkg does not
# list.
list_packages() {
    local package
    for package in $(closure "${PACKAGES[@]}"); do dpkg -L "$package"; done |
        grep -Ev '^/(usr/share/(doc|man|locale|info|lintian|bash-completion|zoneinfo)(/|$)|\.$|$)' |
        sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#' | existing_files
    printf '%s\n' /bin /sbin /lib /lib64 /usr/bin/cc /etc/alternatives/cc /etc/ld.so.cache /etc/ssl/certs/ca-certificates.crt /tmp
}

closure() {
    apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
        grep -E '^[a-z0-9]' | sort -u | while read -r package; do
        ! dpkg -s "$package" >/dev/null 2>&1 || echo "$package"
    done
}

existing_files() {
    local path
    while read -r path; do
        if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then echo "$path"; fi
    done
}

# Prints rustc, cargo, and the standard libraries for this machine (for build scripts) and for the
# target.
list_toolchain() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    printf '%s\n' "$1/bin/rustc" "$1/bin/cargo"
    find "$1/lib" -maxdepth 1 -type f
    find "$1/lib/rustlib/$host/lib" "$1/lib/rustlib/$host/bin" "$1/lib/rustlib/$2" \( -type f -o -type l \)
}

# Prints the index and the packed crates; cargo unpacks them again.
list_crates() { find "$1/registry/index" "$1/registry/cache" -type f; }

# Packs the toolchain as /rust and the crates as /cargo, whatever their names are here.
import() {
    local changes answer
    changes='changes=ENV%20PATH%3D/rust/bin:/usr/bin:/bin&changes=ENV%20CARGO_HOME%3D/cargo&changes=ENV%20CARGO_NET_OFFLINE%3Dtrue'
    answer=$(tar -c --no-recursion --absolute-names --files-from=- --owner=0 --group=0 --numeric-owner \
        --transform "flags=rh;s#^$1/#rust/#" --transform "flags=rh;s#^$2/#cargo/#" --transform 'flags=rh;s#^/##' |
        api POST "/images/create?fromSrc=-&repo=${IMAGE%:*}&tag=${IMAGE##*:}&$changes" \
            --header 'Content-Type: application/x-tar' --upload-file - --no-fail) || true
    [[ $answer = *'"sha256:'* ]] || die "the engine refused: $answer"
}

main "$@"
