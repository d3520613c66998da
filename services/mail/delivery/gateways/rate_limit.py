"""The rate limit of a gateway, shared by all workers: each mail gets a turn, and the database assigns the turns.

A row per gateway says when its next mail may go. A worker moves that time on by as many turns as it needs, in one
short statement, and waits for them without holding anything. An unused turn is lost: the limit protects the gateway.
"""

import asyncio
import time

import asyncpg

from shared.db.pool import UNAVAILABLE, Pool
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger

from . import queries

_log = get_logger(__name__)

_NOT_RESERVED: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.PostgresError)


class GatewayRateLimit:
    """At most `per_second` mails through the named gateway, evenly spaced, for any number of workers."""

    def __init__(self, pool: Pool, gateway: str, per_second: float) -> None:
        self._pool = pool
        self._gateway = gateway
        self._gap_seconds = 1 / per_second
        self._waiting: list[asyncio.Future[float]] = []
        self._reserving: asyncio.Task[None] | None = None

    async def wait(self) -> bool:
        """Return at the caller's turn. False: the database could not be asked, so there is no turn.

        Callers that arrive during a reservation share the next one.
        """
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._reserving is None:
            self._reserving = asyncio.get_running_loop().create_task(self._reserve_turns())
        try:
            starts_at = await turn
        except _NOT_RESERVED as error:
            _log.warning("rate_reservation_failed", gateway=self._gateway, error=describe(error))
            return False
        await asyncio.sleep(starts_at - time.monotonic())
        return True

    async def _reserve_turns(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._reserve(waiting)
        finally:
            self._reserving = None

    async def _reserve(self, waiting: "list[asyncio.Future[float]]") -> None:
        try:
            seconds = await self._pool.fetchval(
                queries.RESERVE_TURNS, self._gateway, self._gap_seconds * len(waiting), column=1
            )
        except Exception as error:  # noqa: BLE001 - every waiting caller must get the error
            for turn in waiting:
                if not turn.done():
                    turn.set_exception(error)
            return
        first = time.monotonic() + float(seconds)
        for place, turn in enumerate(waiting):
            if not turn.done():
                turn.set_result(first + place * self._gap_seconds)
