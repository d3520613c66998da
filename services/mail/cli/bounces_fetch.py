"""What `bounces fetch` does: reads its arguments and the password, opens both ends, and reports."""

import asyncio
import sys
from pathlib import Path

from shared.contract.configuration import ConfigurationError
from shared.contract.principals import Principal
from shared.db.pool import DatabaseOptions, open_database

from ..bounces.imap_fetch import Fetched, fetch
from ..bounces.imap_folder import ImapError, ImapFolder
from ..bounces.imap_url import ImapAccount, folder_name, parse_imap_url
from ..bounces.ingest import Ingested, ingest
from ..ledger.listing import SEE_ALL
from ..settings import Settings
from .bounces import BAD_CONFIGURATION, BAD_USAGE, COMPLETE, TRY_AGAIN

_SENDER = Principal("bounces", "imap", frozenset([SEE_ALL]))


def run_fetch(url: str, move_to: str | None, settings: Settings) -> int:
    """Fetch once and print what was done. Returns the exit status."""
    try:
        account, target = parse_imap_url(url), None if move_to is None else folder_name(move_to)
    except ValueError as error:
        return _complain(str(error), BAD_USAGE)
    if target == account.folder:
        return _complain("--move-to must name another folder than the URL", BAD_USAGE)
    try:
        fetched = asyncio.run(_fetch(account, _password(settings), target, settings))
    except ConfigurationError as error:
        return _complain(str(error), BAD_CONFIGURATION)
    except ImapError as error:
        return _complain(str(error), TRY_AGAIN)
    print(_summary(fetched))
    if fetched.trouble:
        return _complain(fetched.trouble, TRY_AGAIN)
    return COMPLETE if fetched.is_complete else TRY_AGAIN


def _complain(text: str, status: int) -> int:
    print(f"bounces fetch: {text}", file=sys.stderr)
    return status


def _password(settings: Settings) -> str:
    """Raises ConfigurationError when none can be read."""
    path, password = settings.mail_bounce_imap_password_file, settings.mail_bounce_imap_password
    if path:
        try:
            password = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"MAIL_BOUNCE_IMAP_PASSWORD_FILE={path} cannot be read: {why}") from None
    if not password or not password.isprintable():
        raise ConfigurationError(
            "MAIL_BOUNCE_IMAP_PASSWORD, or the file that MAIL_BOUNCE_IMAP_PASSWORD_FILE names, must hold the password "
            "of the mailbox, on one line"
        )
    return password


async def _fetch(account: ImapAccount, password: str, move_to: str | None, settings: Settings) -> Fetched:
    database = await open_database(DatabaseOptions(settings.process_database_url, "mail-cli", pool_size=1))

    async def ingest_one(raw: bytes) -> Ingested:
        return await ingest(database, _SENDER, raw, settings.mail_bounce_domain, settings.mail_suppression_days)

    try:
        with await asyncio.to_thread(ImapFolder.open, account, password) as folder:
            if move_to is not None and not await asyncio.to_thread(folder.has_folder, move_to):
                raise ImapError(f"there is no folder {move_to} to move notices to: nothing was read")
            return await fetch(folder, ingest_one, move_to=move_to)
    finally:
        await database.close()


def _summary(fetched: Fetched) -> str:
    """Like `bounced 3, ignored 1`."""
    counts = dict(sorted(fetched.outcomes.items()))
    counts |= {"still sending": fetched.still_sending, "not ingested": fetched.faults}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing new"
