"""The signup batcher: signups that arrive while a statement is running share the next one.

A commit costs one round trip and one flush to disk for one user or for twenty, so sharing it makes the hot path cheap
(ADR 0007). An idle batcher runs a signup at once, without waiting for others. A statement that takes long does not hold
up the others (ADR 0044). Each request is answered after the commit that holds it (P1).
"""

import asyncio
from collections import deque

import asyncpg

from shared.contract.correlation import current
from shared.db.pool import UNAVAILABLE, Pool

from ..errors import ChallengeRequired
from .effect_policy import EffectPolicy
from .sign_up import Caller, Details, SignedUp, SignupCommand, result_of, write
from .used_challenges import NOT_NEEDED, Proof

# The second one beside a statement that takes long: it may wait for a row that an import holds.
_STATEMENTS_AT_ONCE = 2
_LATE_SECONDS = 0.02
# Larger batches add latency, not throughput.
_MAX_BATCH = 50


class SignupBatcher:
    """One per event loop."""

    def __init__(self, pool: Pool, policy: EffectPolicy, *, late_seconds: float = _LATE_SECONDS) -> None:
        self._pool = pool
        self._policy = policy
        self._late_seconds = late_seconds
        self._waiting: deque[tuple[SignupCommand, asyncio.Future[SignedUp]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._busy = 0
        # When a statement last began, on the clock of the loop.
        self._last_began = 0.0
        self._relief: asyncio.TimerHandle | None = None

    async def sign_up(self, details: Details, caller: Caller, proof: Proof = NOT_NEEDED) -> SignedUp:
        """Sign up one user. On return the user, the mail owed and the history entry are committed.

        Raises:
            AlreadyVerified: a caller with a key named a verified address; nothing was changed.
            ChallengeRequired: the proof is missing, or its challenge was used before; nothing was changed.
        """
        command = SignupCommand(details, caller, current(), proof.to_use())
        answer: asyncio.Future[SignedUp] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if not self._busy:
            self._start_writer()
        elif self._relief is None:
            self._relief = asyncio.get_running_loop().call_later(self._late_seconds, self._relieve)
        return (await answer).for_caller(caller)

    async def close(self) -> None:
        """Wait for running statements."""
        while self._writers:
            await asyncio.wait(self._writers)
        if self._relief is not None:
            self._relief.cancel()

    def _start_writer(self) -> None:
        self._busy += 1
        # The task starts after this turn of the event loop, so requests read in the same turn join its batch.
        writer = asyncio.create_task(self._serve())
        self._writers.add(writer)
        writer.add_done_callback(self._writers.discard)

    def _relieve(self) -> None:
        """Start another writer for the signups that wait, if the last statement began long ago."""
        self._relief = None
        if not self._waiting or self._busy == _STATEMENTS_AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        late_at = self._last_began + self._late_seconds
        if loop.time() >= late_at:
            self._start_writer()
        else:
            self._relief = loop.call_at(late_at, self._relieve)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                self._last_began = asyncio.get_running_loop().time()
                await self._commit(self._next_batch())
        finally:
            self._busy -= 1

    def _next_batch(self) -> dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]]:
        """The next batch, each address and challenge once: a repeated one must see the result of the first."""
        batch: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]] = {}
        challenges: set[bytes] = set()
        repeated = []
        while self._waiting and len(batch) < _MAX_BATCH:
            command, answer = self._waiting.popleft()
            if command.email_key in batch or command.challenge_id in challenges:
                repeated.append((command, answer))
                continue
            batch[command.email_key] = command, answer
            if command.challenge_id is not None:
                challenges.add(command.challenge_id)
        self._waiting.extendleft(reversed(repeated))
        return batch

    async def _commit(self, batch: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]]) -> None:
        try:
            done = await write(self._pool, [command for command, _ in batch.values()], self._policy)
        except asyncpg.PostgresError as error:
            if len(batch) > 1 and not isinstance(error, UNAVAILABLE):
                # The whole statement was rolled back. One user's data must not fail the others: retry one by one.
                for key, waiting in batch.items():
                    await self._commit({key: waiting})
                return
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - raised in every waiting request
            _fail(batch, error)
        else:
            for command, answer in batch.values():
                if answer.done():
                    continue
                try:
                    answer.set_result(result_of(command, done))
                except ChallengeRequired as refusal:
                    answer.set_exception(refusal)


def _fail(batch: dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]], error: Exception) -> None:
    for _, answer in batch.values():
        if not answer.done():
            answer.set_exception(error)
