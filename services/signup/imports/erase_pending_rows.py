"""Excludes unprocessed import rows that name a user who is being erased: they were uploaded before the erasure and must
not create the user again. Rows uploaded afterwards may, as a new signup may.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from shared.contract.addresses import parse_address
from shared.db.pool import Connection, Record

from ..accounts.fields import LONGEST_EMAIL_INPUT
from . import operator_action_queries as queries

_REASON = "The person was erased while this line waited"
_PREFETCH_ROWS = 1000


async def lock_open_imports(connection: Connection) -> list[Record]:
    """Lock the unfinished imports, so that the worker reads no further row until the transaction ends.

    Call this before locking users: the worker takes its locks in that order.
    """
    return await connection.fetch(queries.LOCK_OPEN)


async def exclude_rows_of(connection: Connection, imports: Sequence[Record], user: Record) -> None:
    """Exclude the rows that name `user` (`email_key`, `source`, `external_id`) from locked imports."""
    # The query returns only rows that may match: rows with these ASCII texts, and all rows with non-ASCII bytes.
    needles = [_ascii(user["email_key"].rpartition("@")[0]), _ascii(user["external_id"])]
    for job in imports:
        rows = connection.cursor(
            queries.ROWS_THAT_MAY_MATCH, job["id"], job["done_through_line"], *needles, prefetch=_PREFETCH_ROWS
        )
        lines = [row["line"] async for row in rows if _names(row["raw"], user, job["source"])]
        await connection.execute(queries.EXCLUDE_IF_UNPROCESSED, job["id"], lines, _REASON)


def _ascii(text: str | None) -> str | None:
    """Lower-case text, or None (which matches nothing) when it is missing or would be escaped in JSON."""
    return text.lower() if text and text.isascii() else None


def _names(raw: bytes, user: Record, source: str) -> bool:
    try:
        row: Any = orjson.loads(raw)
        if not isinstance(row, dict):
            return False
        if user["external_id"] and row.get("external_id") == user["external_id"] and source == user["source"]:
            return True
        email = row.get("email")
        return (
            isinstance(email, str)
            and len(email) <= LONGEST_EMAIL_INPUT
            and bool(parse_address(email).key == user["email_key"])
        )
    except ValueError:  # the import will refuse this row
        return False
