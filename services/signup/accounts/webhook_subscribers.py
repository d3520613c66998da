"""Webhook subscribers, each owned by one client.

Their secrets are derived from the key ring and never stored. Create and rotate return the secret once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contract.correlation import current
from shared.contract.ids import UUID
from shared.db.pool import Pool, Record

from ..outbox.effects.webhook_secret import derive_secret
from ..verification_token import TokenRing
from . import webhook_subscriber_queries as queries


@dataclass(frozen=True)
class IssuedSubscriber:
    """A subscriber with the secret that signs its deliveries from now on."""

    subscriber: Mapping[str, Any] | Record
    secret: str


class Subscribers:
    """Each call is one statement, committed on return. Another client's subscribers are not found."""

    def __init__(self, pool: Pool, ring: TokenRing) -> None:
        self._pool = pool
        self._ring = ring

    async def create(self, client: str, url: str, events: Sequence[str], actor: str) -> IssuedSubscriber:
        row = await self._pool.fetchrow(
            queries.ADD_SUBSCRIBER, client, url, events, self._ring.signing_key_id, actor, *_correlation()
        )
        assert row is not None
        return self._issue(row)

    async def rotate(self, client: str, subscriber_id: UUID, actor: str) -> IssuedSubscriber | None:
        """A new secret, from the ring's newest key. The previous one also signs for a day."""
        row = await self._pool.fetchrow(
            queries.ROTATE_IF_OWN, client, subscriber_id, self._ring.signing_key_id, actor, *_correlation()
        )
        return self._issue(row) if row else None

    async def find(self, client: str, subscriber_id: UUID) -> Record | None:
        return await self._pool.fetchrow(queries.FIND_OWN, client, subscriber_id)

    async def enable(self, client: str, subscriber_id: UUID, actor: str) -> Record | None:
        """Deliver events to the subscriber again, from now on. None when the client has no such subscriber."""
        return await self._pool.fetchrow(queries.ENABLE_IF_OWN, client, subscriber_id, actor, *_correlation())

    async def delete(self, client: str, subscriber_id: UUID, actor: str) -> bool:
        """Whether it existed. The relay cancels the deliveries still owed to it when they come due."""
        return bool(await self._pool.fetchval(queries.DELETE_IF_OWN, client, subscriber_id, actor, *_correlation()))

    def _issue(self, row: Record) -> IssuedSubscriber:
        return IssuedSubscriber(row, derive_secret(self._ring, row["id"], row["secret_version"], row["key_id"]))


def _correlation() -> tuple[str | None, str | None]:
    correlation = current()
    return (correlation.request_id, correlation.traceparent) if correlation else (None, None)
