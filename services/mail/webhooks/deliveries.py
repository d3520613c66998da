"""The deliveries to webhook subscribers, for those who own them: the log, and the replay.

A replay reads history once more, so it also has the events of the time when a subscriber was disabled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from shared.contract.ids import UUID
from shared.db.pool import Pool, Record
from shared.webhooks.delivery_log import ReplayCount, Span, Wanted, read_log
from shared.webhooks.errors import TooManyReplays
from shared.webhooks.subscriber_queries import NOTE_REPLAY
from shared.webhooks.subscribers import correlation

from . import delivery_queries as queries
from .events import EVENTS
from .queries import BEGIN_FEEDS_IF_NEW

# Replays of one subscriber that may be under way.
_MAX_REPLAYS = 10
# Entries of history that are counted: a fraction of a second.
_MAX_COUNTED = 20_000


@dataclass(frozen=True)
class WebhookDeliveries:
    """`shared.webhooks.delivery_log.Deliveries`."""

    pool: Pool

    async def page(self, subscriber_id: UUID, wanted: Wanted, *, limit: int) -> Sequence[Record]:
        return await read_log(self.pool, queries.LOG, subscriber_id, wanted, limit=limit)

    async def replay(self, subscriber: Record, span: Span, events: Sequence[str], *, actor: str) -> ReplayCount:
        """The worker hands the events over, a bounded number at a time. Committed.

        Raises:
            TooManyReplays: nothing has changed.
        """
        lowest, above = span.ids()
        replay = (subscriber["id"], span.since, span.until, sorted(events), lowest, above)
        await self.pool.execute(BEGIN_FEEDS_IF_NEW)
        await self.pool.execute(queries.DELETE_VOID_REPLAYS, subscriber["id"])
        # Before the transaction below: while one writes, the change feed does not go past it.
        row = await self.pool.fetchrow(queries.COUNT_REPLAYED, *replay, list(EVENTS), _MAX_COUNTED)
        assert row is not None
        counted = ReplayCount(row["replayed"], more=row["seen"] > _MAX_COUNTED)
        detail = {"from": span.since, "to": span.until, "events": events, "replayed": counted.replayed}
        noted = orjson.dumps(detail | {"more": counted.more}, option=orjson.OPT_UTC_Z).decode()
        async with self.pool.acquire() as connection, connection.transaction():
            for _ in range(2):  # the second time sees the same replay, if another request was writing it
                if await connection.fetchval(queries.ADD_REPLAY, *replay, _MAX_REPLAYS):
                    break
            else:
                raise TooManyReplays(f"{_MAX_REPLAYS} replays of this subscriber are under way.")
            await connection.execute(NOTE_REPLAY, subscriber["id"], subscriber["client"], actor, *correlation(), noted)
        return counted
