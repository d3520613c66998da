"""`python -m services.mail bounces fetch URL`: reads a bounce mailbox once. cron or a systemd timer repeats it."""

import argparse
import os
import sys

from shared.observability import logs

from ..settings import Settings

COMMAND = "bounces"
# sysexits.h, as mail servers and their tools use it.
COMPLETE, BAD_USAGE, TRY_AGAIN, BAD_CONFIGURATION = os.EX_OK, os.EX_USAGE, os.EX_TEMPFAIL, os.EX_CONFIG


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    actions = commands.add_parser(COMMAND, help="ingest the notices of a bounce mailbox").add_subparsers(
        dest="action", required=True
    )
    fetch = actions.add_parser(
        "fetch",
        help="read a mailbox once; exit status 75: run it again",
        description="Ingest each notice, then delete it from the mailbox. Messages that are no notice about a mail of "
        "this service stay. The password comes from MAIL_BOUNCE_IMAP_PASSWORD or MAIL_BOUNCE_IMAP_PASSWORD_FILE. "
        "Exit status: 0 all was read, 75 run it again, 64 a wrong URL or folder, 78 a wrong setting.",
    )
    fetch.add_argument("url", metavar="URL", help="imaps://user@host/INBOX; ?ca=FILE for a private CA")
    fetch.add_argument("--move-to", metavar="FOLDER", help="move ingested notices to this folder, instead of deleting")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run a parsed command. Returns the exit status. Every ingested notice is committed, whatever the status."""
    from .bounces_fetch import run_fetch  # noqa: PLC0415 - nothing else of the service speaks IMAP

    # Standard output holds the result; the log shows errors only.
    logs.configure("mail-cli", "ERROR", stream=sys.stderr)
    return run_fetch(arguments.url, arguments.move_to, settings)
