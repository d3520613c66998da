"""`python -m services.mail api|worker|keys`: the mail service's processes and commands."""

import argparse
import asyncio
import sys

from pydantic import ValidationError

from shared.observability import logs
from shared.process import keys_cli
from shared.process.gc_freeze import freeze_startup_objects
from shared.process.settings import describe_errors

from . import settings as settings_module
from .settings import Settings

SCOPES = ("mails:send", "mails:read", "mails:operate", "mails:all", "audit:read", "audit:operate")


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.mail", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="serve the HTTP API")
    commands.add_parser("worker", help="deliver the queue")
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
            _serve(settings)
        case "worker":
            _work(settings)
    return 0


def _serve(settings: Settings) -> None:
    # Imported here: `keys` must not wait for a web framework.
    import uvicorn  # noqa: PLC0415

    from .app import create_app  # noqa: PLC0415

    logs.configure("mail-api", settings.log_level, personal_data=settings.log_personal_data)
    app = create_app(settings)
    freeze_startup_objects()
    uvicorn.run(
        app,
        host=settings.mail_host,
        port=settings.mail_port,
        loop="uvloop",  # said explicitly: `auto` was measured at half of this
        http="httptools",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        # Clients let go of idle connections after 5 s (httpx), and uvicorn too unless told: a request must not meet one
        # that is just being closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


def _work(settings: Settings) -> None:
    import uvloop  # noqa: PLC0415 - as above

    from .worker import run  # noqa: PLC0415

    logs.configure("mail-worker", settings.log_level, personal_data=settings.log_personal_data)
    freeze_startup_objects()
    uvloop.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
