"""Follows the mail service's change feed, so that signup's own ledger knows each mail's outcome (P6).

The outcomes and the new cursor are one commit. Reading a change twice changes nothing.
"""

from collections.abc import Sequence

from shared.db.pool import Pool
from shared.observability.logs import get_logger
from shared.worker.circuit_breaker import Breaker

from ..mail_service import Change, CursorLostError, MailService
from ..outbox.retry_policy import PeerFaultError
from ..process_names import MAIL_CLIENT, WORKER
from . import feed_queries as queries

_log = get_logger(__name__)

_BATCH = 500
_SENT = "sent"
# How far signup's ledger may lag behind the mail service's: it could request mails of this period again. While nothing
# changes, the pause doubles from one to the other.
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0


class FeedFollower:
    """A loop (`shared.worker.loops`)."""

    name = "follower"

    def __init__(self, pool: Pool, mail_service: MailService, breaker: Breaker, *, lag_seconds: float) -> None:
        self._pool = pool
        self._mail_service = mail_service
        self._lag_seconds = lag_seconds
        self.breaker = breaker
        self._pause_seconds = _PAUSE_SECONDS

    def pause_seconds(self) -> float:
        """How long to wait until the next run."""
        return self._pause_seconds

    async def run_once(self) -> bool:
        """Reads one batch; returns whether there is more. An outage of the mail service only counts in the breaker.

        Commits the mail outcomes together with the cursor.
        """
        if not self.breaker.allowance(1):
            return False
        try:
            more = await self.follow()
        except PeerFaultError as fault:
            self.breaker.faulted(str(fault))
            _log.warning("feed_not_read", error=str(fault))
            return False
        except BaseException:
            self.breaker.unused()
            raise
        self.breaker.succeeded()
        return more

    async def follow(self) -> bool:
        """Does the same as `run_once`, without the breaker.

        Raises:
            PeerFaultError: the mail service gave no answer.
        """
        cursor: str | None = await self._pool.fetchval(queries.READ_CURSOR)
        try:
            page = await self._mail_service.changes(cursor, _BATCH)
        except CursorLostError:
            _log.warning("feed_cursor_lost")
            await self._pool.execute(queries.START_AGAIN_IF_AT_CURSOR, cursor, WORKER, self._lag_seconds)
            return True
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause_seconds)
        if page.next_cursor != cursor:
            self._pause_seconds = _PAUSE_SECONDS
            await self._keep(
                cursor, page.next_cursor, [change for change in page.items if change.client == MAIL_CLIENT]
            )
        return len(page.items) == _BATCH if page.more is None else page.more

    async def _keep(self, cursor: str | None, next_cursor: str, changes: Sequence[Change]) -> None:
        columns = [list(column) for column in zip(*map(_row, changes), strict=True)] or [[] for _ in range(9)]
        if not await self._pool.fetchval(queries.KEEP_OUTCOMES_IF_READ_FROM_CURSOR, cursor, next_cursor, *columns):
            _log.info("feed_cursor_moved_by_another_worker")


def _row(change: Change) -> tuple[object, ...]:
    return (
        change.request_id,
        change.mail_id,
        change.state,
        change.message_id,
        change.fingerprint,
        # A `sent` line proves that the mail was sent then, whatever the mail's state is now.
        change.sent_at or (change.at if change.state == _SENT else None),
        change.detail.get("code") if isinstance(change.detail.get("code"), int) else None,
        change.detail.get("enhanced_code") if isinstance(change.detail.get("enhanced_code"), str) else None,
        change.at,
    )
