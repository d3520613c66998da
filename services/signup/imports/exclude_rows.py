"""Excludes addresses from a paused import after the database was restored to an earlier time: the mail service has
already mailed these users, and the import would create and mail them again (docs/restoring.md).
"""

from collections.abc import Set as AbstractSet

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool, Record

from . import operator_action_queries as queries
from .row_parser import Candidate, read_row

_REASON = "Mailed already, before the database was restored to an earlier time"
_PREFETCH_ROWS = 1000


async def list_open(pool: Pool) -> list[Record]:
    """The unfinished imports of every client, oldest first."""
    return await pool.fetch(queries.LIST_OPEN)


async def skip(pool: Pool, import_id: UUID, email_keys: AbstractSet[str], *, actor: str) -> int:
    """Exclude unprocessed rows with these addresses and return their number. Committed on return. The import reports
    them as `invalid` when it reaches them.

    Raises:
        NotFound: no paused import has this ID; nothing was changed.
    """
    async with pool.acquire() as connection, connection.transaction():
        job = await connection.fetchrow(queries.LOCK_IF_PAUSED, import_id)
        if job is None:
            raise NotFound("There is no paused import with this ID.")
        rows = connection.cursor(queries.UNPROCESSED_ROWS, job["id"], job["done_through_line"], prefetch=_PREFETCH_ROWS)
        lines = [row["line"] async for row in rows if _has_address(row, email_keys)]
        await connection.execute(queries.EXCLUDE_IF_UNPROCESSED, job["id"], lines, _REASON)
        await connection.execute(queries.NOTE_SKIPPED, job["id"], actor, len(lines), _REASON)
    return len(lines)


def _has_address(row: Record, email_keys: AbstractSet[str]) -> bool:
    parsed = read_row(row["line"], row["raw"])
    return isinstance(parsed, Candidate) and parsed.email_key in email_keys
