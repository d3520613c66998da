"""The mail service's processes and commands: `python -m services.mail --help` lists them."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from shared.contract.configuration import ConfigurationError
from shared.process import keys_cli
from shared.process.serving import Address, run_api, run_worker
from shared.process.settings import describe_errors

from .cli import bounces, operators, templates
from .process_names import WORKER
from .settings import Settings

if TYPE_CHECKING:  # the worker and the commands load no HTTP server
    from fastapi import FastAPI

SCOPES = (
    "mails:send",
    "mails:read",
    "mails:operate",
    "mails:all",
    "audit:read",
    "audit:operate",
    "operators:name",
    "webhooks:manage",
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m services.mail", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="serve the HTTP API")
    commands.add_parser("worker", help="deliver queued mails")
    commands.add_parser("check", help="exit 0 when the process in this container works", add_help=False)
    keys_cli.add_parser(commands, SCOPES)
    operators.add_parsers(commands)
    bounces.add_parsers(commands)
    templates.add_parsers(commands)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status."""
    parsed = parser().parse_args(arguments)
    if parsed.command == templates.COMMAND:
        return templates.run(parsed)
    try:
        return _run(parsed, Settings())
    except ValidationError as error:
        message = describe_errors(error)
    except ConfigurationError as error:
        message = str(error)
    print(f"mail cannot start: {message}", file=sys.stderr)
    return bounces.BAD_CONFIGURATION if parsed.command == bounces.COMMAND else 2


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    if not settings.process_database_url:
        raise ConfigurationError("MAIL_DATABASE_URL or MAIL_RUNTIME_DATABASE_URL must be set")
    if arguments.command == "keys":
        return asyncio.run(keys_cli.run(arguments, settings.mail_database_url or settings.process_database_url))
    if arguments.command in operators.COMMANDS:
        return operators.run(arguments, settings)
    if arguments.command == bounces.COMMAND:
        return bounces.run(arguments, settings)
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
        "mail-api",
        settings,
        make_app,
        public=Address(settings.mail_host, settings.mail_port),
        operations=Address(settings.mail_operations_host, settings.mail_operations_port),
    )


def _run_worker(settings: Settings) -> None:
    from .worker import run  # noqa: PLC0415 - as above

    run_worker(WORKER, settings, lambda: run(settings))
