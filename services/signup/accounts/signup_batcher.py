"""The signup batcher: signups that arrive while a statement is running share the next one.

A commit costs one round trip and one flush to disk for one user or for twenty, so sharing it makes the hot path cheap
(ADR 0007). An idle batcher runs a signup at once, without waiting for others. While they come one after another all the
time, statements begin some milliseconds apart, unless enough signups wait (ADR 0044). Each request is answered after
the commit that holds it (P1).
"""

import asyncio
from collections import deque

import asyncpg

from shared.contract.correlation import current
from shared.db.pool import UNAVAILABLE, Pool
from shared.worker.growing_gap import GrowingGap

from ..errors import ChallengeRequired
from .effect_policy import EffectPolicy
from .sign_up import Caller, Details, SignedUp, SignupCommand, result_of, write
from .used_challenges import NOT_NEEDED, Proof

# While one statement runs in PostgreSQL, this process fills or answers the other.
_STATEMENTS_AT_ONCE = 2
# Larger batches add latency, not throughput.
_MAX_BATCH = 50
# A statement for one costs the server as much as for six; so many share it well enough, and wait for no more.
ENOUGH = 8
_LONGEST_GAP_SECONDS = 0.012


class SignupBatcher:
    """One per event loop."""

    def __init__(
        self,
        pool: Pool,
        policy: EffectPolicy,
        *,
        statements_at_once: int = _STATEMENTS_AT_ONCE,
        gap: GrowingGap | None = None,
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._idle = statements_at_once
        self._gap = gap or GrowingGap(longest_seconds=_LONGEST_GAP_SECONDS)
        self._gathering = asyncio.Lock()
        self._enough = asyncio.Event()
        self._waiting: deque[tuple[SignupCommand, asyncio.Future[SignedUp]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    async def sign_up(self, details: Details, caller: Caller, proof: Proof = NOT_NEEDED) -> SignedUp:
        """Sign up one user. On return the user, the mail owed and the history entry are committed.

        Raises:
            AlreadyVerified: a caller with a key named a verified address; nothing was changed.
            ChallengeRequired: the proof is missing, or its challenge was used before; nothing was changed.
        """
        command = SignupCommand(details, caller, current(), proof.to_use())
        answer: asyncio.Future[SignedUp] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if len(self._waiting) >= ENOUGH:
            self._enough.set()
        if self._idle:
            self._idle -= 1
            # The task starts after this turn of the event loop, so requests read in the same turn join its batch.
            writer = asyncio.create_task(self._serve())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return (await answer).for_caller(caller)

    async def close(self) -> None:
        """Wait for running statements."""
        await asyncio.gather(*self._writers)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._commit(await self._gather())
        finally:
            self._idle += 1

    async def _gather(self) -> dict[str, tuple[SignupCommand, asyncio.Future[SignedUp]]]:
        """The next batch; empty when the statement before took all."""
        async with self._gathering:
            if not self._waiting:
                return {}
            await self._gap.leave(enough=self._enough)
            batch = self._next_batch()
            if len(self._waiting) < ENOUGH:
                self._enough.clear()
            return batch

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
        if not batch:
            return
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
