"""The effect `cache`: what other services may know of a user, in Valkey, under `counterfoil:profile:<user id>`.

Written from the current user row, never from the outbox: however often and in whichever order rows run, the last write
is true. Profiles of erased users are deleted. Under load, rows wait for each other for up to a quarter of a second, and
share a batch.
"""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contract.ids import UUID
from shared.contract.json_text import dumps
from shared.db.pool import Pool, Record
from shared.observability.foreign_errors import describe

from ...settings import Settings
from ..retry_policy import ClaimedRow, Done, Outcome, PeerFaultError, TryLater
from . import queries

KEY = "counterfoil:profile:{}"
_TIMEOUT_SECONDS = 2.0
_PUBLIC = ("id", "name", "locale", "status", "created_at", "verified_at")


class CacheEffect:
    """Rows wait while Valkey is down. Losing Valkey loses nothing that the database does not have."""

    name = "cache"
    # A batch reads the users twice, writes and settles: as dear for one row as for a hundred.
    rest_seconds = 0.25

    def __init__(self, pool: Pool, redis: Redis, *, ttl_seconds: int) -> None:
        self._pool = pool
        self._redis = redis
        self._ttl_seconds = ttl_seconds

    @classmethod
    def connect(cls, settings: Settings, pool: Pool) -> "CacheEffect":
        redis = Redis.from_url(
            str(settings.redis_url), socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=_TIMEOUT_SECONDS
        )
        return cls(pool, redis, ttl_seconds=settings.signup_cache_ttl_seconds)

    async def close(self) -> None:
        await self._redis.aclose()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Writes or deletes the profiles of all users in the batch.

        Raises:
            PeerFaultError: Valkey did not accept them.
        """
        user_ids = list({entry.user_id for entry in entries})
        before = await self._profiles(user_ids)
        await self._write(user_ids, before)
        # If a user changed or was erased meanwhile, another relay may have written first and this one overwritten it.
        after = await self._profiles(user_ids)
        outdated = {user_id for user_id in user_ids if before.get(user_id) != after.get(user_id)}
        return {
            entry.id: TryLater("The user changed while the profile was written")
            if entry.user_id in outdated
            else Done({})
            for entry in entries
        }

    async def _profiles(self, user_ids: Sequence[UUID | None]) -> dict[UUID | None, Record]:
        return {row["id"]: row for row in await self._pool.fetch(queries.READ_PROFILES, user_ids)}

    async def _write(self, user_ids: Sequence[UUID | None], profiles: dict[UUID | None, Record]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            profile = profiles.get(user_id)
            if profile is None:
                pipeline.delete(KEY.format(user_id))
            else:
                public = {name: profile[name] for name in _PUBLIC}
                pipeline.set(KEY.format(user_id), dumps(public), ex=self._ttl_seconds)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS * 2):
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise PeerFaultError(f"Valkey did not answer: {describe(error)}") from error
