#!/usr/bin/env bash
# Makes the calls of the original service's API, word for word, against a running server.
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

# Redirects to /jobs, which lists all jobs in three maps.
call --location --request GET "$url/"
call --location --request GET "$url/jobs"

# Takes a job name or an image, and a relative or absolute date.
answer=$(call --location --request POST "$url/job" --form 'job_name="JOB_A"' --form 'date="30s"')
printf '%s\n' "$answer"
id=$(sed -n 's/.*with id \([0-9a-f]\{32\}\) will be scheduled.*/\1/p' <<<"$answer")

# Shows one job.
call --location --request GET "$url/job/$id"

# Cancels the job: it moves to the history.
call --location --request DELETE "$url/job/$id"
call --location --request GET "$url/jobs"
