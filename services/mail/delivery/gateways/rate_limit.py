"""The rate of a gateway, shared by all workers: each mail has its turn, and the turns are given out by the database.

A row for each gateway says when its next mail may go. Whoever has mails moves that time on by as many turns as it
needs, in one short statement, and waits for its turns without holding anything. A turn that is not used is lost: the
rate is a promise to the gateway, not to us.
"""

import asyncio
import time

import asyncpg

from shared.db.pool import UNAVAILABLE, Pool
from shared.observability.logs import get_logger

from .. import queries

_log = get_logger(__name__)

_NOT_RESERVED: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.PostgresError)


class GatewayRateLimit:
    """At most `per_second` through the gateway of this name, evenly, whatever the number of workers."""

    def __init__(self, pool: Pool, gateway: str, per_second: float) -> None:
        self._pool = pool
        self._gateway = gateway
        self._gap_seconds = 1 / per_second
        self._waiting: list[asyncio.Future[float]] = []
        self._asking: asyncio.Task[None] | None = None

    async def wait(self) -> bool:
        """Returns at the caller's turn; False: the database could not be asked, so there is none.

        Callers that come while a reservation is under way share the next one.
        """
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._give_turns())
        try:
            at = await turn
        except _NOT_RESERVED as error:
            _log.warning("rate_not_reserved", gateway=self._gateway, error=str(error) or type(error).__name__)
            return False
        await asyncio.sleep(at - time.monotonic())
        return True

    async def _give_turns(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._reserve(waiting)
        finally:
            self._asking = None

    async def _reserve(self, waiting: "list[asyncio.Future[float]]") -> None:
        try:
            seconds = await self._pool.fetchval(
                queries.RESERVE_TURNS, self._gateway, self._gap_seconds * len(waiting), column=1
            )
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            for turn in waiting:
                if not turn.done():
                    turn.set_exception(error)
            return
        first = time.monotonic() + float(seconds)
        for place, turn in enumerate(waiting):
            if not turn.done():
                turn.set_result(first + place * self._gap_seconds)
