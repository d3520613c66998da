"""The table of processes: who runs, in which group, with which environment.

A process gets the runtime role of its own database and nothing of the owner roles, which only migrations need.
"""

import sys
from pathlib import Path

from .postgres import Cluster
from .process import dies_with_parent
from .settings import Settings
from .supervisor import Program
from .valkey import Store
from .wiring import Wiring, service_environment

# In the order of starting; stopping goes backwards.
SERVERS, CATCHER, SERVICES = "servers", "catcher", "services"
GROUPS = (SERVERS, CATCHER, SERVICES)
SERVICE_PROCESSES = (("signup", "api"), ("signup", "worker"), ("mail", "api"), ("mail", "worker"))


def server_programs(cluster: Cluster | None, store: Store | None) -> list[Program]:
    """The embedded servers, of those that are needed."""
    programs = []
    if cluster:
        programs.append(Program("postgres", cluster.command, SERVERS, Path("/")))
    if store:
        programs.append(Program("valkey", store.command, SERVERS, Path("/"), stdin=store.configuration))
    return programs


def catcher_program(settings: Settings) -> Program:
    ports = {name: str(settings.ports[name]) for name in ("CATCHER_SMTP_PORT", "CATCHER_HTTP_PORT")}
    environment = {**ports, "STATE_DIR": str(settings.state), "PYTHONUNBUFFERED": "1"}
    # What it answered 250 to is on disk, so it may die any time.
    command = (*dies_with_parent("KILL"), sys.executable, "-m", "local.catcher")
    return Program("catcher", command, CATCHER, settings.checkout, environment)


def service_programs(settings: Settings, wiring: Wiring) -> list[Program]:
    """The four processes of the product."""
    # A killed supervisord must not leave a worker behind that drains for minutes: nothing is lost by dying (P8).
    start = (*dies_with_parent("KILL"), sys.executable, "-m")
    return [
        Program(
            name=f"{service}-{role}",
            command=(*start, f"services.{service}", role),
            group=SERVICES,
            folder=settings.checkout,
            environment=service_environment(service, settings, wiring),
        )
        for service, role in SERVICE_PROCESSES
    ]
