"""More processes of each kind than the product's four, each with a port of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT

from .processes import NAMES, servers_of
from .processor_time import Meter
from .product import LISTENING, Product
from .sink import await_port

_START_SECONDS = 60.0
_WORKERS = ("signup-worker", "mail-worker")


@dataclass(frozen=True)
class Fleet:
    """`processes` by the names of the stack; the URLs of the signup APIs."""

    processes: dict[str, list["subprocess.Popen[bytes]"]]
    signup_urls: list[str]

    def meter(self, product: Product) -> Meter:
        groups = {label: [process.pid for process in self.processes[name]] for name, label in NAMES.items()}
        return Meter(groups | servers_of(product))


@contextmanager
def running_fleet(product: Product, size: int) -> Iterator[Fleet]:
    """`size` processes of each kind. The n-th signup worker asks the n-th mail API."""
    product.run_only()
    fleet = Fleet({name: [] for name in NAMES}, [])
    try:
        for number in range(size):
            signup_port, mail_port = pick_free(), pick_free()
            settings = {"SIGNUP_PORT": str(signup_port), "MAIL_PORT": str(mail_port)}
            settings |= {"SIGNUP_OPERATIONS_PORT": "0", "MAIL_OPERATIONS_PORT": "0"}
            settings["MAIL_URL"] = f"http://127.0.0.1:{mail_port}"
            for name in NAMES:
                fleet.processes[name].append(_start(product, name, number, settings))
            await_port(signup_port, fleet.processes["signup-api"][-1])
            await_port(mail_port, fleet.processes["mail-api"][-1])
            fleet.signup_urls.append(f"http://127.0.0.1:{signup_port}")
        for name in _WORKERS:
            product.await_value("postgres", LISTENING, True, name, size, seconds=_START_SECONDS)
        yield fleet
    finally:
        _stop([process for processes in fleet.processes.values() for process in processes])


def _start(product: Product, name: str, number: int, settings: dict[str, str]) -> "subprocess.Popen[bytes]":
    service, _, role = name.partition("-")
    with (product.stack.directory / f"{name}-{number}.log").open("ab") as log:
        return subprocess.Popen(
            [*dies_with_parent("KILL"), sys.executable, "-m", f"services.{service}", role],
            cwd=ROOT,
            env=product.environment | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _stop(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _START_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
