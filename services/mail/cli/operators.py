"""`python -m services.mail suppressions|mails …`: operator commands, directly on the database, without the API."""

import argparse
import asyncio
import getpass
import sys
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from shared.contract.timestamps import Timestamp
from shared.db.pool import Database, DatabaseOptions, open_database
from shared.observability import logs

from ..ledger.suppressions import unsuppress_matching
from ..operator_actions.group_retry import GivenUp, retry_matching
from ..settings import Settings

COMMANDS = ("suppressions", "mails")
_TIME = TypeAdapter(Timestamp)


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    suppressions = commands.add_parser("suppressions", help="allow suppressed addresses again").add_subparsers(
        dest="action", required=True
    )
    delete = suppressions.add_parser("delete", help="allow every matching address again and print the number")
    delete.add_argument(
        "--source",
        action="append",
        required=True,
        help="what suppressed them: smtp (a refusal), bounce, complaint, or the key of an operator; may be repeated",
    )
    _add_time_span(delete, "suppressed")
    mails = commands.add_parser("mails", help="retry mails as a group").add_subparsers(dest="action", required=True)
    retry = mails.add_parser("retry", help="send every matching mail again and print the number")
    retry.add_argument("--state", choices=("failed", "expired"), required=True)
    retry.add_argument("--gateway", help="the gateway that tried them last")
    retry.add_argument("--enhanced-code", help="the enhanced code of the last failure, like 5.1.1")
    _add_time_span(retry, "given up")


def _add_time_span(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--after", type=_time, help=f"{what} at this time or later, like 2026-01-31T12:00:00Z")
    parser.add_argument("--before", type=_time, help=f"{what} before this time")


def _time(text: str) -> datetime:
    try:
        return _TIME.validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"]) from None


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a parsed command. Returns the exit status. Changes are committed, with `cli:<user>` in the history."""
    # Standard output holds all results; the log shows errors only.
    logs.configure("mail-cli", "ERROR", stream=sys.stderr)
    return asyncio.run(_run(arguments, settings))


async def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    url = settings.mail_database_url or settings.process_database_url
    database = await open_database(DatabaseOptions(url, "mail-cli", pool_size=1))
    try:
        print(await carry_out(arguments, database, settings, user=getpass.getuser()))
    finally:
        await database.close()
    return 0


async def carry_out(arguments: argparse.Namespace, database: Database, settings: Settings, *, user: str) -> str:
    """Run a command and return what to print. Committed."""
    actor = f"cli:{user}"
    if arguments.command == "suppressions":
        deleted = await unsuppress_matching(database, arguments.source, arguments.after, arguments.before, actor)
        return f"deleted {deleted}"
    wanted = GivenUp(
        state=arguments.state,
        gateway=arguments.gateway,
        enhanced_code=arguments.enhanced_code,
        after=arguments.after,
        before=arguments.before,
    )
    retried = await retry_matching(
        database.pool, wanted, client=None, actor=actor, lifetime_seconds=settings.mail_expire_seconds
    )
    return f"retried {retried}"
