"""The effect `webhook`: sends an event to a subscriber (`shared/webhooks/`).

One row is one event for one subscriber, so subscribers fail alone. The body comes from the row alone and names the user
by ID only: every retry and replay sends the same bytes under the same `webhook-id`, and no personal data leaves. A
subscriber gets the events of one user in their order: a later one waits until the earlier one is settled.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from shared.contract.ids import UUID
from shared.db.pool import Pool, Record
from shared.webhooks.calls import SubscriberCalls
from shared.webhooks.message import Message
from shared.webhooks.secret import OLD_SECRET_SECONDS
from shared.webhooks.subscriber_queries import DISABLE_IF_ACTIVE, FIND_SUBSCRIBERS
from shared.webhooks.verdicts import Accepted, Failed, Gone, NotCalled
from shared.worker.backoff import equal_jitter

from ...process_names import WORKER
from ...settings import Settings
from ...verification_token import TokenRing
from ..retry_policy import ClaimedRow, Done, Obsolete, Outcome, Postponed, TryLater
from . import queries

_SETTLED = (Done, Obsolete)


class WebhookEffect:
    """Calls subscribers. One that answers 410 is disabled."""

    name = "webhook"

    def __init__(self, pool: Pool, calls: SubscriberCalls) -> None:
        self._pool = pool
        self._calls = calls

    @classmethod
    def connect(cls, settings: Settings, ring: TokenRing, pool: Pool) -> "WebhookEffect":
        calls = SubscriberCalls(
            ring,
            timeout_seconds=settings.signup_webhook_timeout_seconds,
            allow_private=settings.signup_webhook_allow_private,
        )
        return cls(pool, calls)

    async def close(self) -> None:
        await self._calls.close()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Returns each subscriber's verdict. Disables a subscriber that answers 410, and commits that.

        The lease must outlast the batch: a row that still waits for its turn at the deadline is postponed.
        """
        wanted = {_subscriber_id(entry) for entry in entries}
        rows = await self._pool.fetch(FIND_SUBSCRIBERS, list(wanted), OLD_SECRET_SECONDS)
        subscribers = {row["id"]: row for row in rows}
        early = await self._find_early(entries)
        deadline = self._calls.deadline()
        chains: dict[tuple[UUID, UUID | None], list[ClaimedRow]] = defaultdict(list)
        for entry in sorted(entries, key=lambda entry: entry.id):
            chains[_subscriber_id(entry), entry.user_id].append(entry)
        outcomes = await asyncio.gather(
            *(self._in_order(chain, subscribers.get(key), early, deadline) for (key, _), chain in chains.items())
        )
        return {entry_id: outcome for chain in outcomes for entry_id, outcome in chain.items()}

    async def _find_early(self, entries: Sequence[ClaimedRow]) -> frozenset[UUID]:
        """The rows that must wait for an earlier event of their user, which another batch has or which is due later."""
        rows = await self._pool.fetch(
            queries.FIND_EARLY_WEBHOOKS,
            [entry.id for entry in entries],
            [entry.user_id for entry in entries],
            [entry.payload["subscriber_id"] for entry in entries],
        )
        return frozenset(row["id"] for row in rows)

    async def _in_order(
        self, chain: Sequence[ClaimedRow], subscriber: Record | None, early: frozenset[UUID], deadline: float
    ) -> dict[UUID, Outcome]:
        outcomes: dict[UUID, Outcome] = {}
        waits = False
        for entry in chain:
            waits = waits or entry.id in early
            if subscriber is None:
                outcome: Outcome = Obsolete("The subscriber was deleted")
            elif subscriber["disabled_at"]:
                outcome = Obsolete("The subscriber is disabled")
            elif waits:
                outcome = _postponed(
                    "An earlier event of this user is not delivered yet", self._calls.seconds_to_probe(subscriber["id"])
                )
            else:
                outcome = await self._notify(entry, subscriber, deadline)
                waits = not isinstance(outcome, _SETTLED)
            outcomes[entry.id] = outcome
        return outcomes

    async def _notify(self, entry: ClaimedRow, subscriber: Record, deadline: float) -> Outcome:
        data = {"id": str(entry.user_id)}
        message = Message(entry.id, entry.payload["event"], entry.created_at, data, entry.traceparent)
        match await self._calls.call(subscriber, message, deadline=deadline):
            case Accepted(status):
                return Done({"status": status})
            case Gone(reason=reason):
                await self._pool.execute(DISABLE_IF_ACTIVE, subscriber["id"], reason, WORKER)
                return Obsolete(reason)
            case Failed(error):
                return TryLater(error)
            case NotCalled(error, probe_seconds):
                return _postponed(error, probe_seconds)


def _postponed(reason: str, probe_seconds: float) -> Postponed:
    # Jitter, so that the rows of a subscriber do not all become due at once.
    return Postponed(reason, equal_jitter(1, base_seconds=2 * max(1.0, probe_seconds), cap_seconds=120.0))


def _subscriber_id(entry: ClaimedRow) -> UUID:
    return UUID(entry.payload["subscriber_id"])
