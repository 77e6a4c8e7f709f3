#!/usr/bin/env python3
"""Fills a data directory with the server of an earlier version, for the test of upgrades.

Usage: scripts/make_old_store.py BINARY DATA_DIR [JOBS]

The server runs on the simulated engine and is killed at the end, so jobs are in flight and the
write-ahead log is not empty. The directory then has a job in each state that a store can hold, with
its kept output, a definition, a schedule with decided ticks, and JOBS (default 0) jobs that wait.
Prints the id and the status of each named job as JSON.
"""
import atexit
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

CONFIG = "[queues.etl]\nmax_running = 1\n"


def main():
    binary, data_dir = sys.argv[1:3]
    more = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    config = Path(tempfile.mkdtemp()) / "config.toml"
    config.write_text(CONFIG)
    arguments = ["serve", "--engine", "simulated", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(
        [binary, *arguments, "--data-dir", data_dir, "--config", str(config)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    url = server.stdout.readline().split()[-1]
    atexit.register(server.kill)

    def call(method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(url + path, method=method, data=data, headers=headers)
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.read().decode()}")

    def submit(date, *command, **spec):
        spec |= {"job_name": "busybox:latest", "date": date, "command": list(command)}
        return call("POST", "/job", spec)["id"]

    call("PUT", "/definition/REPORT", {"image": "busybox:latest", "command": ["echo", "report"]})
    jobs = {
        "scheduled": submit("2100-01-01T00:00:00Z", "true"),
        "canceled": submit("2100-01-01T00:00:00Z", "true"),
        "succeeded": submit("now", "echo", "hello", labels={"team": "data"}),
        "failed": submit("now", "sh", "-c", "echo no; exit 7"),
        "retrying": submit("now", "false", retry={"attempts": 3, "delay": "100h"}),
        "running": submit("now", "sleep", "360000", queue="etl"),
        "stopping": submit("now", "sh", "-c", "trap '' TERM; sleep 360000", stop_grace="9m"),
    }
    call("DELETE", f"/job/{jobs['canceled']}")
    time.sleep(1)
    jobs["queued"] = submit("now", "true", queue="etl", max_parallel=3)
    call("PUT", "/schedule/often", {"job_name": "REPORT", "every": "1s", "max_runs": 2})
    call("PUT", "/schedule/nightly", {"job_name": "REPORT", "cron": "30 2 * * *"})
    time.sleep(4)
    call("POST", f"/job/{jobs['stopping']}/stop")
    for _ in range(more):
        submit("2100-01-01T00:00:00Z", "true")
    shown = {name: call("GET", f"/job/{job}") for name, job in jobs.items()}
    server.kill()
    server.wait()
    wrong = {name: job["status"] for name, job in shown.items() if job["status"] != name}
    if wrong:
        sys.exit(f"these jobs are in another state: {wrong}")
    print(json.dumps(jobs, indent=1))


if __name__ == "__main__":
    main()
