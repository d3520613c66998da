"""`python -m services.signup outbox|audit|imports …`: operator commands, directly on the database, without the API."""

import argparse
import asyncio
import getpass
import sys
from typing import Any

import orjson

from shared.audit.incidents import list_alerts
from shared.contract.ids import UUID
from shared.contract.problems import Problem
from shared.db.pool import Database, DatabaseOptions, open_database
from shared.observability import logs

from ..audit.alerts import alert_catalog
from ..outbox import operator_actions
from ..settings import Settings
from . import imports

COMMANDS = ("outbox", "audit", "imports")
_STATES = ("pending", "leased", "dead", "delivered", "canceled")


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    outbox = commands.add_parser("outbox", help="list, show, retry and cancel outbox rows").add_subparsers(
        dest="action", required=True
    )
    listing = outbox.add_parser("list", help="list rows, newest first, one JSON object per line")
    listing.add_argument("--state", action="append", choices=_STATES, default=[])
    listing.add_argument("--effect", action="append", default=[])
    listing.add_argument("--user-id", action="append", type=UUID, default=[])
    listing.add_argument("--limit", type=int, default=50)
    for name, text in (
        ("show", "show one row"),
        ("retry", "make a dead or pending row due now"),
        ("cancel", "cancel a dead or pending row"),
    ):
        outbox.add_parser(name, help=text).add_argument("id", type=UUID)
    redrive = outbox.add_parser("redrive", help="retry every matching row and print the number")
    redrive.add_argument("--state", choices=("dead", "pending"), required=True)
    redrive.add_argument("--effect", action="append", default=[])
    redrive.add_argument("--error-like", help="a part of the last error; %% and _ as in SQL LIKE")
    imports.add_parser(commands)
    audit = commands.add_parser("audit", help="sanity checks and alerts").add_subparsers(dest="action", required=True)
    audit.add_parser("checks", help="show the results of each sanity check's last run")
    audit.add_parser("run-checks", help="run all sanity checks now; exit status 1 when violations remain")
    audit.add_parser("alerts", help="list alerts, open ones first")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a parsed command. Returns the exit status. Changes are committed, with `cli:<user>` in the history."""
    # Standard output is JSON lines and holds all results; the log shows errors only.
    logs.configure("signup-cli", "ERROR", stream=sys.stderr)
    return asyncio.run(_run(arguments, settings))


async def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    url = settings.signup_database_url or settings.signup_runtime_database_url
    database = await open_database(DatabaseOptions(url, "signup-cli", pool_size=1))
    actor, give_up_seconds = f"cli:{getpass.getuser()}", settings.signup_give_up_seconds
    try:
        if arguments.command == "imports":
            for row in await imports.carry_out(
                arguments, database.pool, actor=actor, give_up_seconds=give_up_seconds, addresses=sys.stdin
            ):
                _print(row)
            return 0
        if arguments.command == "outbox":
            await _outbox(arguments, database, settings)
            return 0
        return await _audit(arguments, database, settings)
    except Problem as problem:
        print(problem.detail, file=sys.stderr)
        return 1
    finally:
        await database.close()


async def _outbox(arguments: argparse.Namespace, database: Database, settings: Settings) -> None:
    actor, give_up_seconds = f"cli:{getpass.getuser()}", settings.signup_give_up_seconds
    match arguments.action:
        case "list":
            from ..outbox import row_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

            filters = row_list.Filters(arguments.state, arguments.effect, arguments.user_id)
            rows = await row_list.list_rows(database, filters, before=None, limit=arguments.limit)
            for row in rows[: arguments.limit]:
                _print(row)
        case "show":
            _print(await operator_actions.find_row(database.pool, arguments.id))
        case "retry":
            _print(
                await operator_actions.retry(database.pool, arguments.id, actor=actor, give_up_seconds=give_up_seconds)
            )
        case "cancel":
            _print(await operator_actions.cancel(database.pool, arguments.id, actor=actor))
        case "redrive":
            retried = await operator_actions.redrive(
                database.pool,
                arguments.state,
                effects=arguments.effect,
                error_like=arguments.error_like,
                actor=actor,
                give_up_seconds=give_up_seconds,
            )
            print(f"retried {retried}")


async def _audit(arguments: argparse.Namespace, database: Database, settings: Settings) -> int:
    if arguments.action == "alerts":
        for alert in await list_alerts(database.pool):
            _print(alert)
        return 0
    checks = alert_catalog(settings).checks_in(database.pool)
    if arguments.action == "run-checks":
        await checks.run()
    results = await checks.results()
    for result in results:
        _print(result)
    violations_remain = any(result["violations"] > result["fixed"] or result["error"] for result in results)
    return 1 if violations_remain and arguments.action == "run-checks" else 0


def _print(row: dict[str, Any]) -> None:
    print(orjson.dumps(row, default=str, option=orjson.OPT_UTC_Z).decode())
