"""`python -m services.signup api|worker|import|imports|outbox|audit|keys`: configured by the environment."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from shared.contract.configuration import ConfigurationError
from shared.process import keys_cli
from shared.process.serving import Address, run_api, run_worker
from shared.process.settings import describe_errors

from .cli import import_file, operators
from .process_names import WORKER
from .settings import Settings

if TYPE_CHECKING:  # the worker and the commands load no HTTP server
    from fastapi import FastAPI

SCOPES = (
    "signups:write",
    "users:read",
    "users:erase",
    "users:import",
    "stats:read",
    "audit:read",
    "audit:operate",
    "webhooks:manage",
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m services.signup", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="run the HTTP API")
    commands.add_parser("worker", help="run the background loops: outbox relay, imports, reconciliation, alerts")
    commands.add_parser("check", help="exit 0 when the process in this container works", add_help=False)
    import_file.add_parser(commands)
    keys_cli.add_parser(commands, SCOPES)
    operators.add_parsers(commands)
    return made


def main() -> int:
    """Run a command. Returns the exit status."""
    arguments = parser().parse_args()
    try:
        return _run(arguments, Settings())
    except ValidationError as error:
        message = describe_errors(error)
    except ConfigurationError as error:
        message = str(error)
    print(f"signup cannot start: {message}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.command != "import" and not settings.process_database_url:
        raise ConfigurationError("SIGNUP_DATABASE_URL or SIGNUP_RUNTIME_DATABASE_URL must be set")
    if arguments.command == "keys":
        url = settings.signup_database_url or settings.signup_runtime_database_url
        return asyncio.run(keys_cli.run(arguments, url))
    if arguments.command == "import":
        return import_file.run(arguments, settings)
    if arguments.command in operators.COMMANDS:
        return operators.run(arguments, settings)
    if arguments.command == "worker":
        _run_worker(settings)
    else:
        _run_api(settings)
    return 0


def _run_api(settings: Settings) -> None:
    def make_app() -> "FastAPI":
        from .app import create_app  # noqa: PLC0415 - commands and the worker do not load it

        return create_app(settings)

    run_api(
        "signup-api",
        settings,
        make_app,
        public=Address(settings.signup_host, settings.signup_port),
        operations=Address(settings.signup_operations_host, settings.signup_operations_port),
    )


def _run_worker(settings: Settings) -> None:
    from .worker import run  # noqa: PLC0415 - as above

    run_worker(WORKER, settings, lambda: run(settings))
