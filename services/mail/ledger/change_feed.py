"""The feed of changes: every state that a mail ever took, in an order with nothing slipped in behind a reader.

Transactions commit in another order than they began, so neither a time nor a sequence is safe to resume from; see
the migration for what is.
"""

import base64
import binascii
import struct
from typing import Any

import orjson

from shared.contract.ids import UUID
from shared.contract.problems import InvalidRequest
from shared.db.pool import Database

from ..errors import CursorLost
from . import queries

_CURSOR = struct.Struct(">Q16s")
_BEGINNING = (0, UUID(int=0))


def cursor_of(position: int, line: UUID) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(position, line.bytes)).decode()


def read_cursor(text: str | None) -> tuple[int, UUID]:
    """Raises InvalidRequest for what this feed never gave out; None is the beginning."""
    if text is None:
        return _BEGINNING
    try:
        position, line = _CURSOR.unpack(base64.urlsafe_b64decode(text))
    except (ValueError, binascii.Error, struct.error):
        detail = "Not a cursor of this feed"
        raise InvalidRequest(detail, errors=[{"parameter": "after", "detail": detail}]) from None
    if position >= 1 << 63:
        detail = "Not a cursor of this feed"
        raise InvalidRequest(detail, errors=[{"parameter": "after", "detail": detail}])
    return position, UUID(bytes=line)


async def changes(database: Database, client: str | None, after: str | None, limit: int) -> dict[str, Any]:
    """Up to `limit` changes after the cursor, and the cursor to go on from; the same one when there is nothing yet.

    Raises:
        InvalidRequest: the cursor is none of this feed's.
        CursorLost: the line it stands on is gone, because the ledger was restored to an earlier time,
            or no longer keeps that one.
    """
    position, line = read_cursor(after)
    rows = await database.pool.fetch(queries.CHANGES_IN_COMMIT_SAFE_ORDER, position, line, client, limit)
    # OwnRecord after the changes: a ledger that goes back between the two is noticed at the next call.
    if (position, line) != _BEGINNING and not await database.pool.fetchval(queries.IS_IN_BOOK, position, line):
        raise CursorLost
    if rows:
        position, line = rows[-1]["position"], rows[-1]["id"]
    items = [
        {
            **{name: value for name, value in row.items() if name not in ("position", "detail")},
            "detail": orjson.Fragment(row["detail"]),
        }
        for row in rows
    ]
    return {"items": items, "next_cursor": cursor_of(position, line)}
