"""The list of suppressed addresses. History holds only the hash of an address."""

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.contract.addresses import Address
from shared.contract.problems import InvalidRequest
from shared.db.pool import Database

from . import queries

# Microseconds since 1970, and the digest of the address. A byte longer than the cursors of other lists, which are IDs.
_CURSOR = struct.Struct(">qqx")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _cursor_of(created_at: datetime, digest: int) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack((created_at - _EPOCH) // _MICROSECOND, digest)).decode()


def _read_cursor(text: str | None) -> tuple[datetime | None, int | None]:
    if not text:
        return None, None
    try:
        microseconds, digest = _CURSOR.unpack(base64.urlsafe_b64decode(text))
        return _EPOCH + microseconds * _MICROSECOND, digest
    except (ValueError, binascii.Error, struct.error, OverflowError):
        detail = "Not a cursor of this list"
        raise InvalidRequest(detail, errors=[{"parameter": "cursor", "detail": detail}]) from None


async def list_suppressions(database: Database, keys: Sequence[str], cursor: str | None, limit: int) -> dict[str, Any]:
    """A page, newest first. Raises InvalidRequest for a cursor of another list."""
    created_at, digest = _read_cursor(cursor)
    rows = await database.pool.fetch(queries.SUPPRESSIONS, list(keys), created_at, digest, limit + 1)
    shown = rows[:limit]
    more = len(rows) > limit
    return {
        "items": [{name: value for name, value in row.items() if name != "digest"} for row in shown],
        "next_cursor": _cursor_of(shown[-1]["created_at"], shown[-1]["digest"]) if more else None,
    }


async def suppress(database: Database, address: Address, reason: str, actor: str) -> tuple[dict[str, Any], bool]:
    """The suppression, and whether it is new. Committed, with a line of history."""
    row = await database.pool.fetchrow(
        queries.SUPPRESS, address.key, address.email, reason, actor, subject_of(address.key)
    )
    assert row is not None
    return {name: value for name, value in row.items() if name != "is_new"}, row["is_new"]


async def unsuppress(database: Database, address: Address, actor: str) -> bool:
    """Whether the address was suppressed. Committed, with a line of history."""
    detail = orjson.dumps({}).decode()
    return bool(await database.pool.fetchval(queries.UNSUPPRESS, address.key, actor, subject_of(address.key), detail))


async def unsuppress_matching(
    database: Database, sources: Sequence[str], after: datetime | None, before: datetime | None, actor: str
) -> int:
    """Allow the addresses that these sources suppressed in [`after`, `before`) again. Returns how many.

    Committed, with one line of history for all of them.
    """
    detail = orjson.dumps({"source": list(sources), "after": after, "before": before}, option=orjson.OPT_UTC_Z).decode()
    return int(await database.pool.fetchval(queries.UNSUPPRESS_MATCHING, list(sources), after, before, actor, detail))


def subject_of(key: str) -> str:
    """The subject for an address in history: a hash, which only a reader who has the address can recognize."""
    return "address:" + hashlib.sha256(key.encode()).hexdigest()[:32]
