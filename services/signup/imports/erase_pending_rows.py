"""Lines that still wait to be read may name somebody who is being erased: they came before the wish, and must not bring
them back. Lines that come in afterwards are somebody's new word, as a new signup is.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from shared.contract.addresses import parse_address
from shared.db.pool import Connection, Record

from ..accounts.fields import LONGEST_EMAIL_INPUT
from . import operator_action_queries as queries

_REASON = "The person was erased while this line waited"
_LINES_AT_ONCE = 1000


async def lock_open_imports(connection: Connection) -> list[Record]:
    """Imports whose lines are not all read; until the transaction ends, nobody reads on.

    To be called before users are locked: the worker takes its locks in that order.
    """
    return await connection.fetch(queries.LOCK_OPEN)


async def forget_waiting_lines(connection: Connection, imports: Sequence[Record], person: Record) -> None:
    """Take the lines that name `person` (`email_key`, `source`, `external_id`) out of locked imports."""
    # Only what may name them is handed over: searched for in ASCII, and what holds anything else is read in any case.
    needles = [_ascii(person["email_key"].rpartition("@")[0]), _ascii(person["external_id"])]
    for job in imports:
        rows = connection.cursor(
            queries.WAITING_LINES, job["id"], job["done_through_line"], *needles, prefetch=_LINES_AT_ONCE
        )
        theirs = [row["line"] async for row in rows if _names(row["raw"], person, job["source"])]
        await connection.execute(queries.FORGET_IF_WAITING, job["id"], theirs, _REASON)


def _ascii(text: str | None) -> str | None:
    """None, which is found nowhere, for what is missing, and for text that is escaped wherever it stands."""
    return text.lower() if text and text.isascii() else None


def _names(raw: bytes, person: Record, source: str) -> bool:
    try:
        said: Any = orjson.loads(raw)
        if not isinstance(said, dict):
            return False
        if person["external_id"] and said.get("external_id") == person["external_id"] and source == person["source"]:
            return True
        email = said.get("email")
        return (
            isinstance(email, str)
            and len(email) <= LONGEST_EMAIL_INPUT
            and bool(parse_address(email).key == person["email_key"])
        )
    except ValueError:  # a line that will be refused
        return False
