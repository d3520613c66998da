"""The front batcher: signups that come while a statement is under way share the next one.

A commit costs a round trip and a flush to disk whether it holds one person or twenty, so sharing it is what makes the
hot path cheap (ADR 0007). Nobody waits for company: when the batcher is idle, a signup leaves at once. Each answer is
still given after the commit that holds it (P1).
"""

import asyncio
from collections import deque

import asyncpg

from shared.contract.correlation import current
from shared.db.pool import UNAVAILABLE, Pool

from .effect_policy import EffectPolicy
from .sign_up import Caller, Details, SignedUp, SignupCommand, write

# While one statement is in PostgreSQL, the next is being filled and answered here.
_STATEMENTS_AT_ONCE = 2
# More than this adds waiting, not speed.
_MOST_PEOPLE = 50


class SignupBatcher:
    """Belongs to one event loop."""

    def __init__(self, pool: Pool, policy: EffectPolicy, *, statements_at_once: int = _STATEMENTS_AT_ONCE) -> None:
        self._pool = pool
        self._policy = policy
        self._idle = statements_at_once
        self._waiting: deque[tuple[SignupCommand, asyncio.Future[SignedUp]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    async def sign_up(self, details: Details, caller: Caller) -> SignedUp:
        """Committed when this returns: the person, the mail that is owed, the history entry.

        Raises:
            AlreadyVerified: a caller with a key named a verified address; nothing was changed.
        """
        answer: asyncio.Future[SignedUp] = asyncio.get_running_loop().create_future()
        self._waiting.append((SignupCommand(details, caller, current()), answer))
        if self._idle:
            self._idle -= 1
            # It starts when this turn of the event loop is over: whoever was read in the same turn comes along.
            writer = asyncio.create_task(self._serve())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return (await answer).for_caller(caller)

    async def close(self) -> None:
        """Waits for statements under way."""
        await asyncio.gather(*self._writers)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._next_people())
        finally:
            self._idle += 1

    def _next_people(self) -> dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]]:
        """Who comes next, each address once: the same address again has to see what became of the first."""
        people: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]] = {}
        again = []
        while self._waiting and len(people) < _MOST_PEOPLE:
            command, answer = self._waiting.popleft()
            if people.setdefault(command.email_key, (command, answer))[1] is not answer:
                again.append((command, answer))
        self._waiting.extendleft(reversed(again))
        return people

    async def _commit(self, people: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]]) -> None:
        try:
            done = await write(self._pool, [command for command, _ in people.values()], self._policy)
        except asyncpg.PostgresError as error:
            if len(people) > 1 and not isinstance(error, UNAVAILABLE):
                # The statement was rolled back as a whole. What one person brought in must not fail the others.
                for key, one in people.items():
                    await self._commit({key: one})
                return
            _fail(people, error)
        except Exception as error:  # noqa: BLE001 - each of those who wait raises it
            _fail(people, error)
        else:
            for key, (_, answer) in people.items():
                if not answer.done():
                    answer.set_result(done[key])


def _fail(people: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]], error: Exception) -> None:
    for _, answer in people.values():
        if not answer.done():
            answer.set_exception(error)
