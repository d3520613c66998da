"""Taking people out of a paused import whom the ledger does not know and the mail service has mailed: it was restored to
an earlier time, so the import would bring them in, and mail them, once more (docs/restoring.md).
"""

from collections.abc import Set as AbstractSet

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool, Record

from . import operator_action_queries as queries
from .row_parser import Candidate, read_row

_REASON = "Mailed already, before the database was restored to an earlier time"
_LINES_AT_ONCE = 1000


async def list_open(pool: Pool) -> list[Record]:
    """Imports of every client that are not at their end, oldest first."""
    return await pool.fetch(queries.LIST_OPEN)


async def skip(pool: Pool, import_id: UUID, email_keys: AbstractSet[str], *, actor: str) -> int:
    """How many lines with these addresses were taken out of those that wait to be read. Committed when this returns;
    the report names them as `invalid` once they are passed.

    Raises:
        NotFound: there is no such import, or it is not paused; nothing was changed.
    """
    async with pool.acquire() as connection, connection.transaction():
        job = await connection.fetchrow(queries.LOCK_IF_PAUSED, import_id)
        if job is None:
            raise NotFound("There is no such import that is paused.")
        rows = connection.cursor(queries.UNREAD_LINES, job["id"], job["done_through_line"], prefetch=_LINES_AT_ONCE)
        theirs = [row["line"] async for row in rows if _is_of(row, email_keys)]
        await connection.execute(queries.FORGET_IF_WAITING, job["id"], theirs, _REASON)
        await connection.execute(queries.NOTE_SKIPPED, job["id"], actor, len(theirs), _REASON)
    return len(theirs)


def _is_of(row: Record, email_keys: AbstractSet[str]) -> bool:
    read = read_row(row["line"], row["raw"])
    return isinstance(read, Candidate) and read.email_key in email_keys
