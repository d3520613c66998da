"""`python -m services.signup api|worker|import|imports|outbox|audit|keys`: configured by the environment."""

import argparse
import asyncio
import sys

from pydantic import ValidationError

from shared.observability import logs
from shared.process import keys_cli
from shared.process.gc_freeze import freeze_startup_objects
from shared.process.settings import describe_errors

from . import settings
from .cli import import_file, operators
from .errors import ConfigurationError

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
# Connections that wait to be accepted: a burst must not be refused while the loop is busy.
_BACKLOG = 4096
_DRAIN_SECONDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.signup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="answer HTTP")
    commands.add_parser("worker", help="work off the outbox")
    import_file.add_parser(commands)
    keys_cli.add_parser(commands, SCOPES)
    operators.add_parsers(commands)
    arguments = parser.parse_args()
    try:
        return _run(arguments, settings.load())
    except ValidationError as error:
        wrong = describe_errors(error)
    except ConfigurationError as error:
        wrong = str(error)
    print(f"signup cannot start: {wrong}", file=sys.stderr)
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
        _work(loaded)
    else:
        _serve(loaded)
    return 0


# Imported where they are needed: commands must not wait for a web framework, nor the worker for a server.
def _work(loaded: settings.Settings) -> None:
    import uvloop  # noqa: PLC0415

    from .worker import run  # noqa: PLC0415

    logs.configure("signup-worker", loaded.log_level, personal_data=loaded.log_personal_data)
    freeze_startup_objects()
    uvloop.run(run(loaded))


def _serve(loaded: settings.Settings) -> None:
    import uvicorn  # noqa: PLC0415

    from .app import create_app  # noqa: PLC0415

    logs.configure("signup-api", loaded.log_level, personal_data=loaded.log_personal_data)
    app = create_app(loaded)
    freeze_startup_objects()
    uvicorn.run(
        app,
        host=loaded.signup_host,
        port=loaded.signup_port,
        loop="uvloop",  # said explicitly, as http: `auto` chose slower parts (ADR 2)
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        # Clients let go of idle connections after 5 s (httpx), and uvicorn too unless told: a request must not meet one
        # that is just being closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
