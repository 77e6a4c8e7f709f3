#!/usr/bin/env python3
"""Submits a job, waits for it and reads it, with the client that was generated from the document.

Usage: client.py SERVER, with the generated package `tidetable_client` in the working directory.
"""
import sys

sys.path.insert(0, ".")

from tidetable_client import Client
from tidetable_client.api.jobs import get_job, list_jobs, submit_job, wait_for_job
from tidetable_client.models import NewJob, Status

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)

done = submit_job.sync(
    client=client, body=NewJob.from_dict({"job_name": "busybox:latest", "date": "now"})
)
over = wait_for_job.sync(done.id, client=client, timeout="60s")
assert over.status == Status.SUCCEEDED, over

job = get_job.sync(done.id, client=client)
assert job.id == done.id and job.exit_code == 0, job
assert job.finished_at >= job.started_at, job

jobs = list_jobs.sync(client=client, state="history")
assert done.id in jobs.history.additional_properties, jobs

planned = submit_job.sync(
    client=client,
    body=NewJob.from_dict({"job_name": "busybox:latest", "date": "1h"}),
    dry_run=True,
)
assert planned.would, planned
print("ok")
