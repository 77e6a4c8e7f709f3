#!/usr/bin/env bash
# Implements `make demo`: a real server, a real engine, and curl. Prints each command and then its
# real answer, and compares each answer with the expected one: the demo fails if the product does.
# It takes about 40 s after the build. At the end, also after ctrl-C, it stops the server and
# removes its data directory; an engine that was found stays as it was. TIDETABLE_BIN names a
# binary to show, instead of building one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

export TIDETABLE_ENGINE_DIR=$ROOT/target/demo
export no_proxy=localhost,127.0.0.1 NO_PROXY=localhost,127.0.0.1
readonly IMAGE=busybox:latest
readonly SEED_DATE='[0-9][0-9]-[0-9][0-9]-[0-9][0-9][0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'

BINARY=${TIDETABLE_BIN:-}
WORK=
SERVER=
URL=
OUT=

main() {
    need curl curl
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    prepare
    title "The server"
    start_server 127.0.0.1:0
    the_seeds_own_calls
    a_job_through_the_three_maps
    jobs_that_do_not_end_well
    killed_and_back
    where_next
}

prepare() {
    if [ -z "$BINARY" ]; then
        need_toolchain
        say "building the debug binary (a few minutes the first time, seconds after that)"
        cargo build --locked
        BINARY=${CARGO_TARGET_DIR:-target}/debug/tidetable
    fi
    BINARY=$(realpath "$BINARY")
    local settings
    settings=$(scripts/engine.sh ensure)
    eval "$settings"
    export DOCKER_HOST
    scripts/engine.sh image
    WORK=$(mktemp -d)
}

# A --form of curl ends at a semicolon, so values with a semicolon are sent as JSON.

# --- the story ------------------------------------------------------------------------------------

the_seeds_own_calls() {
    local id
    title "The seed's own calls"
    run curl --location --request POST "$URL/job" --form 'job_name="JOB_A"' --form 'date="30s"'
    id=$(new_job)
    expect "\"message\":\"job JOB_A with id $id will be scheduled to run in 30s\""
    run curl --location --request GET "$URL/jobs"
    expect "\"scheduled\":{\"$id\":{"
    expect "\"scheduled_to\":\"$SEED_DATE\""
    run curl --location --request GET "$URL/job/$id"
    expect '"status":"scheduled"'
    note "Nobody has said yet what JOB_A is; until it is due there is time. Here it is taken off the schedule."
    run curl --location --request DELETE "$URL/job/$id"
    expect '"message":'
    expect_map "$id" history canceled
}

a_job_through_the_three_maps() {
    local id
    title "An image through the three maps: scheduled, running, history"
    run curl --request POST "$URL/job" --form "job_name=$IMAGE" --form 'date=3s' \
        --form "command=sh -c 'echo the tide comes in && sleep 3 && echo the tide goes out'"
    id=$(new_job)
    expect_map "$id" scheduled scheduled
    until_map "$id" running running
    until_map "$id" history succeeded
    run curl "$URL/job/$id"
    expect '"exit_code":0'
    note "The container is removed; what it wrote is kept."
    run curl "$URL/job/$id/logs"
    expect 'the tide comes in'
    expect 'the tide goes out'
}

jobs_that_do_not_end_well() {
    local canceled failed missing
    title "One canceled, one that fails, one without an image"
    run curl --request POST "$URL/job" --form "job_name=$IMAGE" --form 'date=1h 30m'
    canceled=$(new_job)
    run curl --request DELETE "$URL/job" --form "job_id=$canceled"
    run curl --request POST "$URL/job" --form "job_name=$IMAGE" --form 'date=now' --form "command=sh -c 'echo no good >&2 && exit 7'"
    failed=$(new_job)
    run curl --request POST "$URL/job" --header 'Content-Type: application/json' \
        --data '{"job_name": "no-such-image-here:1", "date": "now", "pull": "never"}'
    missing=$(new_job)
    expect_map "$canceled" history canceled
    until_map "$failed" history failed
    run curl "$URL/job/$failed"
    expect '"exit_code":7'
    run curl "$URL/job/$failed/logs"
    expect 'no good'
    until_map "$missing" history failed
    run curl "$URL/job/$missing"
    expect '"reason":"image_not_found"'
}

killed_and_back() {
    local long due container
    title "kill -9, with a container running and a job that falls due meanwhile"
    # shellcheck disable=SC2016 # the shell in the container expands it
    run curl --request POST "$URL/job" --header 'Content-Type: application/json' --data \
        '{"job_name": "busybox:latest", "date": "now", "command": ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 1; done; exit 42"]}'
    long=$(new_job)
    until_map "$long" running running
    run curl --request POST "$URL/job" --form "job_name=$IMAGE" --form 'date=2s' --form 'command=echo better late than never'
    due=$(new_job)
    show_command kill -9 "$SERVER"
    kill -KILL "$SERVER"
    wait_for 5 gone "$SERVER" || fail "the server does not die"
    SERVER=
    note "The server is gone. Its container is not:"
    containers_of "$long"
    expect '"State":"running"'
    container=$(first_container)
    sleep 3
    note "The second job was due a second ago. Now the server starts again, on the same data directory."
    start_server "${URL#http://}"
    until_map "$long" running running
    OUT=$(ask_engine_for "$long")
    [ "$(first_container)" = "$container" ] || fail "that is another container"
    note "Found again by its label: the same container, $container."
    until_map "$due" history succeeded
    run curl "$URL/job/$due"
    expect '"status":"succeeded"'
    run curl "$URL/job/$due/logs"
    expect 'better late than never'
    until_map "$long" history failed
    run curl "$URL/job/$long"
    expect '"exit_code":42'
    expect '"attempt":1[,}]'
    run curl "$URL/job/$long/logs"
    expect 'line 1
line 2
line 3
line 4
line 5
line 6
line 7
line 8
line 9
line 10'
}

where_next() {
    title "The same, from the command line"
    run "$BINARY" --server "$URL" ls -a
    title "Where to look next"
    cat <<'NEXT'
  README.md                     what it is, and how to configure it
  docs/semantics.md             what is promised, and where the limits are
  docs/internals/architecture.md how the code is laid out
  examples/                     the seed's calls as a script, a client, a configuration, docker-in-docker
  cargo run -- serve            a server of your own, at http://127.0.0.1:8888
  target/debug/tidetable --help
NEXT
}

# --- the server -----------------------------------------------------------------------------------

# start_server ADDRESS: starts it in an empty directory with its own configuration, so it reads
# nothing of the machine's.
start_server() {
    local variable
    for variable in "${!TIDETABLE_@}"; do
        [ "$variable" = TIDETABLE_ENGINE_DIR ] || unset "$variable"
    done
    : >"$WORK/tidetable.toml"
    : >"$WORK/ready"
    show_command tidetable serve --listen "$1" --data-dir "$WORK/data"
    (
        cd "$WORK"
        exec setsid "$BINARY" serve --listen "$1" --data-dir "$WORK/data" --config "$WORK/tidetable.toml" \
            </dev/null >"$WORK/ready" 2>>"$WORK/server.log"
    ) &
    SERVER=$!
    disown
    wait_for 20 ready_or_gone || true
    URL=$(sed -n 's/^listening on //p' "$WORK/ready")
    [ -n "$URL" ] || fail "the server did not start"
    cat "$WORK/ready"
}

ready_or_gone() { grep -q '^listening on ' "$WORK/ready" || gone "$SERVER"; }

# --- showing --------------------------------------------------------------------------------------

if [ -t 1 ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' BLUE=$'\e[34m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' BLUE='' RED='' PLAIN=''
fi

title() { printf '\n%s── %s %s\n' "$BOLD" "$*" "$PLAIN"; }
note() { printf '\n%s# %s%s\n' "$DIM" "$*" "$PLAIN"; }

# Prints a command as a person would type it.
show_command() {
    local word line=
    for word in "$@"; do
        [ "$word" != "$BINARY" ] || word=tidetable
        if [[ $word =~ ^[A-Za-z0-9_./:=@%+-]+$ ]]; then
            line+=" $word"
        elif [[ $word = *\'* ]]; then
            word=${word//\"/\\\"}
            line+=" \"${word//\$/\\\$}\""
        else
            line+=" '$word'"
        fi
    done
    printf '\n%s$%s%s\n' "$BLUE" "$line" "$PLAIN"
}

# run COMMAND...: shows the command, runs it, shows its answer, and stores the answer in OUT.
run() {
    show_command "$@"
    [ "$1" != curl ] || set -- curl --silent --show-error --max-time 30 "${@:2}"
    OUT=$("$@") || fail "the command failed"
    pretty <<<"$OUT"
}

# Indents JSON, and prints other text unchanged.
pretty() {
    awk '
        function pad(n) { return sprintf("%" (n * 2) "s", "") }
        { text = text (NR > 1 ? "\n" : "") $0 }
        END {
            if (text !~ /^[{\[]/) { print text; exit }
            for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1); next_c = substr(text, i + 1, 1)
                if (quoted) {
                    out = out c
                    if (c == "\\") { out = out next_c; i++ } else if (c == "\"") quoted = 0
                } else if (c == "\"") { out = out c; quoted = 1 }
                else if ((c == "{" && next_c == "}") || (c == "[" && next_c == "]")) { out = out c next_c; i++ }
                else if (c == "{" || c == "[") out = out c "\n" pad(++depth)
                else if (c == "}" || c == "]") out = out "\n" pad(--depth) c
                else if (c == ",") out = out c "\n" pad(depth)
                else if (c == ":") out = out ": "
                else out = out c
            }
            print out
        }'
}

# --- looking --------------------------------------------------------------------------------------

# Prints the id in the last answer, and appends it to the list of jobs: put_back removes their
# containers.
new_job() {
    local id
    id=$(sed -n 's/.*"id":"\([0-9a-f]\{32\}\)".*/\1/p' <<<"$OUT")
    [ -n "$id" ] || fail "there is no id in the answer"
    echo "$id" >>"$WORK/jobs"
    echo "$id"
}

# expect PATTERN: fails unless the last answer contains it. Each line of the pattern is searched
# separately.
expect() {
    local line
    while read -r line; do
        grep -q -- "$line" <<<"$OUT" || fail "expected: $line"
    done <<<"$1"
}

# map_of ID: prints the name of the map of /jobs that contains the job.
map_of() {
    local all
    all=$(curl --silent --max-time 10 "$URL/jobs" | pretty)
    sed -n -e 's/^  "\([a-z]*\)": .*/\1/' -e "/^[a-z]*\$/h" -e "/^    \"$1\": {/{x;p;q;}" <<<"$all"
}

status_of() { curl --silent --max-time 10 "$URL/job/$1" | sed -n 's/.*"status":"\([a-z_]*\)".*/\1/p'; }

is_in() { [ "$(map_of "$1")" = "$2" ]; }

expect_map() {
    local map status
    map=$(map_of "$1")
    status=$(status_of "$1")
    printf '\n%s→ job %s is in %s%s%s, %s%s\n' "$DIM" "$1" "$PLAIN$BOLD" "${map:-no map}" "$PLAIN$DIM" "$status" "$PLAIN"
    if [ "$map" != "$2" ] || [ "$status" != "$3" ]; then fail "expected: $2, $3"; fi
}

until_map() {
    wait_for 25 is_in "$1" "$2" || true
    # The running map also contains jobs that are still pulling or starting.
    [ "$2" != running ] || wait_for 25 has_status "$1" running || true
    expect_map "$@"
}

has_status() { [ "$(status_of "$1")" = "$2" ]; }

# The encoded form of filters={"label":["tidetable.job=ID"]}.
filter_of() { printf 'filters=%%7B%%22label%%22%%3A%%5B%%22tidetable.job%%3D%s%%22%%5D%%7D' "$1"; }

ask_engine_for() { api GET "/containers/json?all=1&$(filter_of "$1")"; }

first_container() { sed -nE 's/^[^"]*"Id":"([0-9a-f]{12}).*/\1/p' <<<"$OUT"; }

# Shows the engine's own answer, without asking the server.
containers_of() {
    local filter
    filter="all=1&$(filter_of "$1")"
    if [[ $DOCKER_HOST = unix://* ]]; then
        show_command curl --unix-socket "${DOCKER_HOST#unix://}" "http://localhost/containers/json?$filter"
    else
        note "GET /containers/json?$filter, of the engine at $DOCKER_HOST"
    fi
    OUT=$(ask_engine_for "$1") || fail "the engine does not answer"
    pretty <<<"$OUT" | grep -E '^    "(Id|Image|Command|State|Status)"|tidetable'
}

fail() {
    printf '\n%s%s: %s%s\n' "$RED" "$NAME" "$*" "$PLAIN" >&2
    if [ -s "$WORK/server.log" ]; then
        printf 'the last lines of the server:\n' >&2
        tail -n 15 "$WORK/server.log" >&2
    fi
    exit 1
}

# --- putting back ---------------------------------------------------------------------------------

put_back() {
    local code=$? id container
    trap '' INT TERM
    if [ -n "$SERVER" ]; then end_process "$SERVER" 10; fi
    if [ -n "$WORK" ] && [ -e "$WORK/jobs" ]; then
        while read -r id; do
            for container in $(ask_engine_for "$id" | grep -o '"Id":"[0-9a-f]*"' | cut -d '"' -f 4); do
                api DELETE "/containers/$container?force=1&v=1" >/dev/null || true
            done
        done <"$WORK/jobs"
    fi
    scripts/engine.sh release || true
    if [ -n "$WORK" ]; then rm -rf "$WORK"; fi
    exit "$code"
}

main "$@"
