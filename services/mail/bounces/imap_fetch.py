"""Brings notices in from a mailbox: ingest one, commit, and only then take it out of the mailbox (ADR 0031).

Nothing is remembered between two runs but what the mailbox and the ledger hold. A run that was cut off leaves at most
one message that is ingested and still there: the next run ingests it again, which changes nothing, and takes it out.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shared.db.outages import UNAVAILABLE
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger

from ..errors import StillSending
from .imap_folder import ImapError, ImapFolder
from .ingest import Ingested

_log = get_logger(__name__)

# These say nothing about a mail of ours. A mailbox may receive mail for others too, so they stay in it.
STAYS = frozenset(["ignored", "unmatched"])


@dataclass
class Fetched:
    """What a run did. With `trouble`, or messages to come back to, the next run has more to do."""

    outcomes: Counter[str] = field(default_factory=Counter)
    still_sending: int = 0
    faults: int = 0
    trouble: str = ""

    @property
    def is_complete(self) -> bool:
        return not (self.still_sending or self.faults or self.trouble)


async def fetch(
    folder: ImapFolder, ingest: Callable[[bytes], Awaitable[Ingested]], *, move_to: str | None = None
) -> Fetched:
    """Ingest each message that was not read before. Ends early when the database or the server cannot be used.

    Notices about our mails are deleted, or moved to `move_to`, which must exist. Others are marked and stay.
    """
    fetched = Fetched()
    try:
        for uid in await asyncio.to_thread(folder.unread):
            await _fetch_one(folder, uid, ingest, move_to, fetched)
        await asyncio.to_thread(folder.finish)
    except ImapError as error:
        fetched.trouble = str(error)
    except UNAVAILABLE as error:
        fetched.trouble = f"the database cannot be used: {describe(error)}"
    return fetched


async def _fetch_one(
    folder: ImapFolder, uid: str, ingest: Callable[[bytes], Awaitable[Ingested]], move_to: str | None, fetched: Fetched
) -> None:
    raw = await asyncio.to_thread(folder.read, uid)
    if raw is None:  # another run took it
        return
    try:
        outcome = (await ingest(raw)).outcome
    except StillSending:
        fetched.still_sending += 1
        return
    except UNAVAILABLE:
        raise
    except Exception as error:  # noqa: BLE001 - one message must not keep all later ones from being read
        fetched.faults += 1
        _log.error("bounce_not_ingested", uid=uid, exc_info=error)
        return
    fetched.outcomes[outcome] += 1
    if outcome in STAYS:
        await asyncio.to_thread(folder.leave, uid)
    elif move_to is None:
        await asyncio.to_thread(folder.delete, uid)
    else:
        await asyncio.to_thread(folder.move, uid, move_to)
