"""The deliveries to webhook subscribers, for those who own them: the log, and the replay.

A replay puts settled rows back into the outbox under their own IDs, and makes dead ones due again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from shared.contract.ids import UUID
from shared.db.pool import Pool, Record
from shared.webhooks.delivery_log import ReplayCount, Span, Wanted, read_log
from shared.webhooks.subscriber_queries import NOTE_REPLAY
from shared.webhooks.subscribers import correlation

from . import webhook_queries as queries

# Rows per commit: locks are held briefly, however many rows match.
_BATCH = 1000


@dataclass(frozen=True)
class WebhookDeliveries:
    """`shared.webhooks.delivery_log.Deliveries`."""

    pool: Pool
    give_up_seconds: float

    async def page(self, subscriber_id: UUID, wanted: Wanted, *, limit: int) -> Sequence[Record]:
        return await read_log(self.pool, queries.LOG, str(subscriber_id), wanted, limit=limit)

    async def replay(self, subscriber: Record, span: Span, events: Sequence[str], *, actor: str) -> ReplayCount:
        """Commits in batches, dead rows first: they hold up no others, so later events of their users would pass."""
        replayed = 0
        for statement in (queries.REVIVE_DEAD, queries.REPLAY_SETTLED):
            replayed += await self._replay_all(statement, subscriber["id"], span, events)
        detail = {"from": span.since, "to": span.until, "events": events, "replayed": replayed}
        noted = orjson.dumps(detail, option=orjson.OPT_UTC_Z).decode()
        await self.pool.execute(NOTE_REPLAY, subscriber["id"], subscriber["client"], actor, *correlation(), noted)
        return ReplayCount(replayed)

    async def _replay_all(self, statement: str, subscriber_id: UUID, span: Span, events: Sequence[str]) -> int:
        after, below = span.ids()
        replayed = 0
        while True:
            row = await self.pool.fetchrow(
                statement,
                str(subscriber_id),
                events,
                after,
                below,
                span.since,
                span.until,
                _BATCH,
                self.give_up_seconds,
            )
            assert row is not None
            replayed += int(row["replayed"])
            if row["seen"] < _BATCH:
                return replayed
            after = row["last"]
