"""`python -m services.signup api | worker | import | outbox | audit | keys`: configured by the environment."""

import argparse
import asyncio
import sys

import uvicorn
import uvloop
from pydantic import ValidationError

from shared import keys_cli, log

from . import app, audit_cli, import_cli, settings, worker
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
    import_cli.add_parser(commands)
    keys_cli.add_parser(commands, SCOPES)
    audit_cli.add_parsers(commands)
    arguments = parser.parse_args()
    try:
        return _run(arguments, settings.load())
    except ValidationError as error:
        # Without the values: a URL holds a password.
        wrong = "; ".join(f"{'.'.join(map(str, entry['loc'])).upper()}: {entry['msg']}" for entry in error.errors())
    except ConfigurationError as error:
        wrong = str(error)
    print(f"signup cannot start: {wrong}", file=sys.stderr)
    return 2


def _run(arguments: argparse.Namespace, loaded: settings.Settings) -> int:
    if arguments.command == "keys":
        url = loaded.signup_database_url or loaded.signup_runtime_database_url
        return asyncio.run(keys_cli.run(arguments, url))
    if arguments.command == "import":
        return import_cli.run(arguments, loaded)
    if arguments.command in audit_cli.COMMANDS:
        return audit_cli.run(arguments, loaded)
    log.configure("signup", loaded.log_level)
    if arguments.command == "worker":
        uvloop.run(worker.run(loaded))
        return 0
    # `auto` chose slower parts (DESIGN decision 6); our own log and correlation stand in for the access log.
    uvicorn.run(
        app.create_app(loaded),
        host=loaded.signup_host,
        port=loaded.signup_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
