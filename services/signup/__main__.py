"""`python -m services.signup api|worker|import|imports|outbox|audit|keys`: configured by the environment."""

import argparse
import asyncio
import sys

from fastapi import FastAPI
from pydantic import ValidationError

from shared.process import keys_cli
from shared.process.serving import run_api, run_worker
from shared.process.settings import describe_errors

from . import settings
from .cli import import_file, operators
from .errors import ConfigurationError
from .names import WORKER

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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.signup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="run the HTTP API")
    commands.add_parser("worker", help="run the background loops: outbox relay, imports, reconciliation, alerts")
    import_file.add_parser(commands)
    keys_cli.add_parser(commands, SCOPES)
    operators.add_parsers(commands)
    arguments = parser.parse_args()
    try:
        return _run(arguments, settings.load())
    except ValidationError as error:
        message = describe_errors(error)
    except ConfigurationError as error:
        message = str(error)
    print(f"signup cannot start: {message}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace, loaded: settings.Settings) -> int:
    if arguments.command == "keys":
        url = loaded.signup_database_url or loaded.signup_runtime_database_url
        return asyncio.run(keys_cli.run(arguments, url))
    if arguments.command == "import":
        return import_file.run(arguments, loaded)
    if arguments.command in operators.COMMANDS:
        return operators.run(arguments, loaded)
    if arguments.command == "worker":
        _run_worker(loaded)
    else:
        _run_api(loaded)
    return 0


def _run_api(loaded: settings.Settings) -> None:
    def make_app() -> FastAPI:
        from .app import create_app  # noqa: PLC0415 - commands and the worker do not load it

        return create_app(loaded)

    run_api("signup-api", loaded, make_app, host=loaded.signup_host, port=loaded.signup_port)


def _run_worker(loaded: settings.Settings) -> None:
    from .worker import run  # noqa: PLC0415 - as above

    run_worker(WORKER, loaded, lambda: run(loaded))


if __name__ == "__main__":
    sys.exit(main())
