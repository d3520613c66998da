"""The table of processes: programs, groups and environments.

A process gets the runtime role of its own database. Only migrations get the owner roles.
"""

import sys
from pathlib import Path

from .postgres import Cluster
from .process import dies_with_parent
from .settings import Settings
from .supervisor import Program
from .valkey import Store
from .wiring import Wiring, service_environment

# In start order. Groups stop in reverse order.
SERVERS, CATCHER, SERVICES = "servers", "catcher", "services"
GROUPS = (SERVERS, CATCHER, SERVICES)
SERVICE_PROCESSES = (("signup", "api"), ("signup", "worker"), ("mail", "api"), ("mail", "worker"))


def server_programs(cluster: Cluster | None, store: Store | None) -> list[Program]:
    """The embedded servers that are needed."""
    programs = []
    if cluster:
        programs.append(Program("postgres", cluster.command, SERVERS, Path("/")))
    if store:
        programs.append(Program("valkey", store.command, SERVERS, Path("/"), stdin=store.configuration))
    return programs


def catcher_program(settings: Settings) -> Program:
    ports = {name: str(settings.ports[name]) for name in ("CATCHER_SMTP_PORT", "CATCHER_HTTP_PORT")}
    environment = {**ports, "STATE_DIR": str(settings.state), "PYTHONUNBUFFERED": "1"}
    # Every mail that it answered 250 to is on disk, so it may be killed at any time.
    command = (*dies_with_parent("KILL"), sys.executable, "-m", "local.mail_catcher")
    return Program("catcher", command, CATCHER, settings.checkout, environment)


def service_programs(settings: Settings, wiring: Wiring) -> list[Program]:
    """The four processes of the services."""
    # If supervisord is killed, no worker may drain for minutes: a kill loses nothing (P8).
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
