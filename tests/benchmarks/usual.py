"""Runs the usual alternative (`yardsticks/usual_way.py`) on the product's servers and measures a round of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import redis

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT

from .full_load import CONNECTIONS, FullLoad
from .load import drive
from .processes import servers_of
from .processor_time import Meter, per_unit
from .product import Product
from .sink import await_port

DATABASE = "usual_way"
DEFAULT_MAX_JOBS, RAISED_MAX_JOBS = 10, 100
_QUEUE = "arq:queue"  # arq takes a job out when it has ended
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Usual:
    url: str
    meter: Meter
    queue: "redis.Redis"


def make_database(product: Product) -> None:
    product.fetchval("postgres", f"CREATE DATABASE {DATABASE}")


@contextmanager
def running_usual(product: Product, max_jobs: int) -> Iterator[Usual]:
    """Both of its processes, on a database of their own in the same PostgreSQL and the second one in the same Valkey.

    Raises:
        RuntimeError: some job failed or was tried again.
    """
    port, valkey = pick_free(), _with_path(product.environment["REDIS_URL"], "1")
    environment = {
        **os.environ,
        "DATABASE_URL": _with_path(product.superuser_url, DATABASE),
        "REDIS_URL": valkey,
        "SMTP_PORT": str(product.sink_port),
        "PORT": str(port),
        "MAX_JOBS": str(max_jobs),
    }
    api, worker = (_start(role, environment) for role in ("api", "worker"))
    try:
        await_port(port, api)
        meter = Meter({"API": [api.pid], "arq worker": [worker.pid], **servers_of(product)})
        yield Usual(f"http://127.0.0.1:{port}", meter, redis.Redis.from_url(valkey))
        worker.terminate()
        jobs = json.loads(worker.communicate(timeout=30)[0].splitlines()[-1])
        if jobs["failed"] or jobs["retried"]:
            raise RuntimeError(f"the usual way's jobs: {jobs}")
    finally:
        for process in (api, worker):
            process.kill()
            process.wait()


def measure_usual(usual: Usual, tag: str, seconds: float) -> FullLoad:
    """As `full_load.measure`: from the first signup until the last job has ended."""
    began, before = time.monotonic(), usual.meter.read()
    load = drive(usual.url, tag, seconds, CONNECTIONS)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while usual.queue.zcard(_QUEUE):
        if time.monotonic() > deadline:
            raise TimeoutError("The usual way does not get through its queue")
        time.sleep(_POLL_SECONDS)
    span, after = time.monotonic() - began, usual.meter.read()
    return FullLoad(load.per_second, load.requests / span, per_unit(before, after, load.requests))


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def _start(role: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*dies_with_parent("KILL"), sys.executable, "-m", "tests.benchmarks.yardsticks.usual_way", role],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE if role == "worker" else subprocess.DEVNULL,
        start_new_session=True,
    )
