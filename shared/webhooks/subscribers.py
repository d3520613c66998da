"""Webhook subscribers, each owned by one client.

Their secrets are derived from the key ring and never stored. Create and rotate return the secret once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract.correlation import current
from ..contract.ids import UUID
from ..contract.key_ring import KeyRing
from ..db.pool import Pool, Record
from . import subscriber_queries as queries
from .errors import WebhooksOff
from .secret import derive_secret


@dataclass(frozen=True)
class IssuedSubscriber:
    """A subscriber with the secret that signs its deliveries from now on."""

    subscriber: Mapping[str, Any] | Record
    secret: str


class Subscribers:
    """Each call is one statement, committed on return. Another client's subscribers are not found."""

    def __init__(self, pool: Pool, ring: KeyRing | None, *, setting: str) -> None:
        """Without a ring, which comes from `setting`, no secret can be made: create and rotate raise WebhooksOff."""
        self._pool = pool
        self._ring_or_none = ring
        self._setting = setting

    async def create(self, client: str, url: str, events: Sequence[str], actor: str) -> IssuedSubscriber:
        row = await self._pool.fetchrow(
            queries.ADD_SUBSCRIBER, client, url, events, self._ring.signing_key_id, actor, *correlation()
        )
        assert row is not None
        return self._issue(row)

    async def rotate(self, client: str, subscriber_id: UUID, actor: str) -> IssuedSubscriber | None:
        """A new secret, from the ring's newest key. The previous one also signs for a day."""
        row = await self._pool.fetchrow(
            queries.ROTATE_IF_OWN, client, subscriber_id, self._ring.signing_key_id, actor, *correlation()
        )
        return self._issue(row) if row else None

    async def find(self, client: str, subscriber_id: UUID) -> Record | None:
        return await self._pool.fetchrow(queries.FIND_OWN, client, subscriber_id)

    async def list_own(self, client: str, *, below: UUID | None, limit: int) -> Sequence[Record]:
        """Up to `limit + 1` subscribers, newest first."""
        return await self._pool.fetch(queries.LIST_OWN, client, below, limit + 1)

    async def enable(self, client: str, subscriber_id: UUID, actor: str) -> Record | None:
        """Deliver events to the subscriber again, from now on. None when the client has no such subscriber."""
        return await self._pool.fetchrow(queries.ENABLE_IF_OWN, client, subscriber_id, actor, *correlation())

    async def delete(self, client: str, subscriber_id: UUID, actor: str) -> bool:
        """Whether it existed. Nothing is delivered to it any more."""
        return bool(await self._pool.fetchval(queries.DELETE_IF_OWN, client, subscriber_id, actor, *correlation()))

    @property
    def _ring(self) -> KeyRing:
        if self._ring_or_none is None:
            raise WebhooksOff(f"{self._setting} is not set: it holds the keys that sign webhooks.")
        return self._ring_or_none

    def _issue(self, row: Record) -> IssuedSubscriber:
        return IssuedSubscriber(row, derive_secret(self._ring, row["id"], row["secret_version"], row["key_id"]))


def correlation() -> tuple[str | None, str | None]:
    """The request ID and the traceparent of the current request, for its lines of history."""
    request = current()
    return (request.request_id, request.traceparent) if request else (None, None)
