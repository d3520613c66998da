"""The effect `cache`: what other services may know of a user, in Valkey, under `counterfoil:profile:<user id>`.

Written from the row as it stands now, never from the outbox: however often and in whichever order it runs, what is
written last is true. Erased users leave it.
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contract.ids import UUID
from shared.db.pool import Pool, Record
from shared.http.responses import dumps

from ...settings import Settings
from ..events import Event
from ..retry_policy import ClaimedRow, Done, Outcome, PeerFaultError, TryLater
from . import queries

KEY = "counterfoil:profile:{}"
_PATIENCE_SECONDS = 2.0
_PUBLIC = ("id", "name", "locale", "status", "created_at", "verified_at")


class CacheEffect:
    """While Valkey is away rows wait; losing it loses nothing that the database does not have."""

    name = "cache"
    owed_for: ClassVar = frozenset(Event)

    def __init__(self, pool: Pool, redis: Redis, *, ttl_seconds: int) -> None:
        self._pool = pool
        self._redis = redis
        self._ttl_seconds = ttl_seconds

    @classmethod
    def connect(cls, settings: Settings, pool: Pool) -> "CacheEffect":
        redis = Redis.from_url(
            str(settings.redis_url), socket_connect_timeout=_PATIENCE_SECONDS, socket_timeout=_PATIENCE_SECONDS
        )
        return cls(pool, redis, ttl_seconds=settings.signup_cache_ttl_seconds)

    async def close(self) -> None:
        await self._redis.aclose()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Writes or removes the profiles of all who are named.

        Raises:
            PeerFaultError: Valkey did not take them.
        """
        people = list({entry.user_id for entry in entries})
        before = await self._profiles(people)
        await self._write(people, before)
        # Whoever changed or was erased since then may have been written by another relay before us, and by us after.
        after = await self._profiles(people)
        outdated = {person for person in people if before.get(person) != after.get(person)}
        return {
            entry.id: TryLater("The user changed while the profile was written")
            if entry.user_id in outdated
            else Done({})
            for entry in entries
        }

    async def _profiles(self, people: Sequence[UUID | None]) -> dict[UUID | None, Record]:
        return {row["id"]: row for row in await self._pool.fetch(queries.READ_PROFILES, people)}

    async def _write(self, people: Sequence[UUID | None], profiles: dict[UUID | None, Record]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for person in people:
            profile = profiles.get(person)
            if profile is None:
                pipeline.delete(KEY.format(person))
            else:
                public = {name: profile[name] for name in _PUBLIC}
                pipeline.set(KEY.format(person), dumps(public), ex=self._ttl_seconds)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS * 2):
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise PeerFaultError(f"Valkey did not answer: {error or type(error).__name__}") from error
