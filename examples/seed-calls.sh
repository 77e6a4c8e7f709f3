#!/usr/bin/env bash
# The calls of the API that this one grew out of, word for word, against a server that runs.
#
#   examples/seed-calls.sh [BASE_URL]       default localhost:8888
set -euo pipefail

url=${1:-localhost:8888}
url=${url%/}

call() {
    printf '\n$ curl' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    curl --silent --show-error --fail-with-body "$@"
    printf '\n'
}

# Redirects to /jobs: all jobs, in three maps.
call --location --request GET "$url/"
call --location --request GET "$url/jobs"

# A job name or an image, and a relative or absolute date.
answer=$(call --location --request POST "$url/job" --form 'job_name="JOB_A"' --form 'date="30s"')
printf '%s\n' "$answer"
id=$(sed -n 's/.*with id \([0-9a-f]\{32\}\) will be scheduled.*/\1/p' <<<"$answer")

# One job.
call --location --request GET "$url/job/$id"

# Off the schedule: it moves to the history, as canceled.
call --location --request DELETE "$url/job/$id"
call --location --request GET "$url/jobs"
