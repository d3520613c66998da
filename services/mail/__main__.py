"""`python -m services.mail api|worker|keys`: the mail service's processes and commands."""

import argparse
import asyncio
import sys

from fastapi import FastAPI
from pydantic import ValidationError

from shared.process import keys_cli
from shared.process.serving import run_api, run_worker
from shared.process.settings import describe_errors

from . import settings as settings_module
from .names import WORKER
from .settings import Settings

SCOPES = ("mails:send", "mails:read", "mails:operate", "mails:all", "audit:read", "audit:operate")


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.mail", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="serve the HTTP API")
    commands.add_parser("worker", help="deliver queued mails")
    keys_cli.add_parser(commands, SCOPES)
    parsed = parser.parse_args(arguments)
    try:
        settings = settings_module.load()
    except ValidationError as error:
        print(f"mail cannot start: {describe_errors(error)}", file=sys.stderr)
        return 2
    if not settings.process_database_url:
        print("MAIL_DATABASE_URL or MAIL_RUNTIME_DATABASE_URL must be set", file=sys.stderr)
        return 2
    match parsed.command:
        case "keys":
            return asyncio.run(keys_cli.run(parsed, settings.mail_database_url or settings.process_database_url))
        case "api":
            _run_api(settings)
        case "worker":
            _run_worker(settings)
    return 0


def _run_api(settings: Settings) -> None:
    def make_app() -> FastAPI:
        from .app import create_app  # noqa: PLC0415 - commands and the worker do not load it

        return create_app(settings)

    run_api("mail-api", settings, make_app, host=settings.mail_host, port=settings.mail_port)


def _run_worker(settings: Settings) -> None:
    from .worker import run  # noqa: PLC0415 - as above

    run_worker(WORKER, settings, lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
