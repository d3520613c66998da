"""Who is told about users by webhook: subscribers, each a client's own.

Their secrets are derived from the ring and never stored; whoever creates or rotates one sees it that once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contract.correlation import current
from shared.contract.ids import UUID
from shared.db.pool import Pool, Record

from ..outbox.effects.webhook_secret import derive_secret
from . import webhook_subscriber_queries as queries
from .verification_token import TokenRing


@dataclass(frozen=True)
class IssuedSubscriber:
    """A subscriber with the secret that signs what it is told from now on."""

    subscriber: Mapping[str, Any] | Record
    secret: str


class Subscribers:
    """Each call is one statement, committed when it returns. What belongs to another client is not found."""

    def __init__(self, pool: Pool, ring: TokenRing) -> None:
        self._pool = pool
        self._ring = ring

    async def create(self, client: str, url: str, events: Sequence[str], actor: str) -> IssuedSubscriber:
        row = await self._pool.fetchrow(
            queries.ADD_SUBSCRIBER, client, url, events, self._ring.signing_key_id, actor, *_here()
        )
        assert row is not None
        return self._told(row)

    async def rotate(self, client: str, subscriber_id: UUID, actor: str) -> IssuedSubscriber | None:
        """A new secret, from the ring's newest key. The one before it signs too, for a day."""
        row = await self._pool.fetchrow(
            queries.ROTATE_IF_OWN, client, subscriber_id, self._ring.signing_key_id, actor, *_here()
        )
        return self._told(row) if row else None

    async def find(self, client: str, subscriber_id: UUID) -> Record | None:
        return await self._pool.fetchrow(queries.FIND_OWN, client, subscriber_id)

    async def enable(self, client: str, subscriber_id: UUID, actor: str) -> Record | None:
        """The subscriber, told again of what happens from now on; None when there is none."""
        return await self._pool.fetchrow(queries.ENABLE_IF_OWN, client, subscriber_id, actor, *_here())

    async def delete(self, client: str, subscriber_id: UUID, actor: str) -> bool:
        """Whether there was one. What is owed to it and not yet told is canceled when its turn comes."""
        return bool(await self._pool.fetchval(queries.DELETE_IF_OWN, client, subscriber_id, actor, *_here()))

    def _told(self, row: Record) -> IssuedSubscriber:
        return IssuedSubscriber(row, derive_secret(self._ring, row["id"], row["secret_version"], row["key_id"]))


def _here() -> tuple[str | None, str | None]:
    here = current()
    return (here.request_id, here.traceparent) if here else (None, None)
