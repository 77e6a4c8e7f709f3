# A peer at its best settings: APScheduler's timer, the engine's own library at its low level (which
# skips the inspects of the high level), and enough threads. Reads lines of [[key, due in
# nanoseconds], ...].
import datetime
import json
import sys
from importlib.metadata import version

import docker
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

image, network, label, threads = sys.argv[1:]
engine = docker.APIClient(**docker.utils.kwargs_from_env(), num_pools=int(threads), max_pool_size=int(threads))
host_config = engine.create_host_config(network_mode=network, auto_remove=True)
engine.ping()


def run(key):
    container = engine.create_container(image, ["true"], labels={label: key}, host_config=host_config)
    engine.start(container)


scheduler = BackgroundScheduler(
    timezone=datetime.timezone.utc,
    executors={"default": ThreadPoolExecutor(int(threads))},
    job_defaults={"misfire_grace_time": None},
)
scheduler.start()
print(f"APScheduler {version('apscheduler')} + docker {version('docker')}")
for line in sys.stdin:
    for key, due in json.loads(line):
        at = datetime.datetime.fromtimestamp(due / 1e9, datetime.timezone.utc)
        scheduler.add_job(run, "date", run_date=at, args=[key])
