"""Retention: wipes content and gateway replies, and later addresses, of settled mails; removes ended suppressions.

After the content of their last mail, the bytes of attachments are deleted.

A mail that may still be sent, or whose outcome is unknown, keeps everything. The tombstone stays for ever: client,
request ID, fingerprint, state (P4).
"""

from uuid import UUID

import asyncpg

from shared.db.pool import Pool
from shared.observability.logs import get_logger

from . import attachment_queries, queries

_log = get_logger(__name__)

# Mails locked at a time, and mails scanned at a time: most of those are wiped already.
_BATCH = 500
_WINDOW = 5_000
# Attachments looked at a time: all of them may be deleted, and each may have megabytes.
_BLOBS = 100
_START = UUID(int=0)


class Retention:
    """A loop (`shared.worker.loops`). Any number of workers may run it: each skips rows that another has locked."""

    name = "retention"

    def __init__(self, pool: Pool, *, content_days: int, address_days: int) -> None:
        self._pool = pool
        self._content_days = content_days
        self._address_days = address_days  # 0: never
        self._scanned = _START
        self._swept = b""
        self._contents = self._addresses = 0

    async def run_once(self) -> bool:
        """One batch of each kind; committed. True: there may be more. The end of a pass is recorded."""
        contents = await self._pool.fetchval(queries.WIPE_CONTENTS_IF_SETTLED, self._content_days, _BATCH)
        diagnostics = await self._pool.fetchval(queries.WIPE_DIAGNOSTICS, self._content_days, _BATCH)
        self._contents += contents
        more_addresses = bool(self._address_days) and await self._wipe_addresses()
        ended = await self._pool.fetchval(queries.DELETE_SUPPRESSIONS_IF_ENDED, _BATCH)
        if _BATCH in (contents, diagnostics, ended) or more_addresses or await self._delete_blobs():
            return True
        await self._pool.execute(queries.RECORD_RETENTION_RUN, self._contents, self._addresses)
        _log.info("retention_done", contents=self._contents, addresses=self._addresses)
        self._scanned = _START
        self._swept = b""
        self._contents = self._addresses = 0
        return False

    async def _delete_blobs(self) -> bool:
        """After the wiping, so that one pass deletes what it left without a mail."""
        try:
            row = await self._pool.fetchrow(attachment_queries.DELETE_BLOBS_IF_UNUSED, self._swept, _BLOBS)
        except asyncpg.ForeignKeyViolationError:
            return True  # a new mail has one of them since
        assert row is not None
        self._swept = row["last"] or self._swept
        return bool(row["seen"] == _BLOBS)

    async def _wipe_addresses(self) -> bool:
        row = await self._pool.fetchrow(queries.WIPE_ADDRESSES_IF_SETTLED, self._address_days, self._scanned, _WINDOW)
        assert row is not None
        self._addresses += row["wiped"]
        self._scanned = row["last"] or self._scanned
        return bool(row["seen"] == _WINDOW)
