"""The outbox: workers that claim, settle, die and come back as zombies, and an operator (P1, P3, P8)."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from services.signup.outbox import queries
from shared.contract.ids import uuid7

from .machine import Machine, only_if, picks, try_orders

EFFECTS = ["stats", "mail"]
LEASE_SECONDS = 3600.0
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
OWE = """
INSERT INTO outbox (id, effect, payload, expires_at)
SELECT id, $2, $3::jsonb, now() + interval '1 day' FROM unnest($1::uuid[]) AS id
"""
READ_ROWS = """
SELECT o.id, o.state, o.lease IS NOT NULL AS is_leased, o.due_at IS NOT NULL AS has_due_time FROM outbox o
WHERE o.id = ANY ($1::uuid[])
"""
READ_SETTLED = """
SELECT s.id, s.outcome, (
    SELECT count(*) FROM history h WHERE h.subject = s.id::text AND h.kind = 'outbox.' || s.outcome
) AS noted
FROM outbox_settled s WHERE s.id = ANY ($1::uuid[])
"""
READ_COUNTED = "SELECT coalesce(sum(count), 0)::int FROM signup_statistics WHERE kind = 'signups'"


@dataclass
class Batch:
    """Rows that a worker believes to hold, all of one effect."""

    lease: UUID
    effect: str
    ids: list[UUID]


class Outbox(Machine):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.owed: dict[UUID, str] = {}
        self.held: list[Batch] = []
        self.counted_before: int = self.run(self.pool.fetchval(READ_COUNTED))
        # What took place at the peer: it knows the row's ID, so once more is no more.
        self.performed: Counter[UUID] = Counter()

    @rule(effect=st.sampled_from(EFFECTS), count=st.integers(1, 3))
    def owe(self, effect: str, count: int) -> None:
        ids = [uuid7() for _ in range(count)]
        payload = orjson.dumps({"event": "user.signed_up"}).decode()
        self.run(self.pool.execute(OWE, ids, effect, payload))
        self.owed |= dict.fromkeys(ids, effect)

    @rule(rooms=st.tuples(st.integers(0, 3), st.integers(0, 3)))
    def two_workers_claim_at_once(self, rooms: tuple[int, int]) -> None:
        async def both() -> None:
            found = await asyncio.gather(self._claim(list(rooms)), self._claim(list(rooms)))
            claimed = [row_id for batches in found for batch in batches for row_id in batch.ids]
            assert len(set(claimed)) == len(claimed), "no row is claimed twice"
            for effect, room in zip(EFFECTS, rooms, strict=True):
                for batches in found:
                    assert sum(len(batch.ids) for batch in batches if batch.effect == effect) <= room, "P3: its room"
            self.held += [batch for batches in found for batch in batches]

        self.run(both())

    @rule(pick=picks, verdict=st.sampled_from(["delivered", "retry", "dead", "canceled", "released", "nothing"]))
    @only_if(lambda self: self.held)
    def settle(self, pick: int, verdict: str) -> None:
        """`nothing`: the worker dies."""
        batch = self.held.pop(pick % len(self.held))
        self.run(self._settle(batch, verdict))

    @rule(verdicts=st.lists(st.sampled_from(["delivered", "retry", "dead"]), min_size=2, max_size=2))
    @only_if(lambda self: len(self.held) > 1)
    def two_workers_settle_at_once(self, verdicts: list[str]) -> None:
        """Perhaps the same row: one of them is a zombie then."""

        async def both() -> None:
            await asyncio.gather(*(self._settle(self.held.pop(), verdict) for verdict in verdicts))

        self.run(both())

    @rule(pick=picks)
    @only_if(lambda self: self.held)
    def a_lease_ends(self, pick: int) -> None:
        batch = self.held[pick % len(self.held)]
        self.run(self.pool.execute("UPDATE outbox SET due_at = now() WHERE lease = $1", batch.lease))

    @rule()
    def waiting_rows_are_due(self) -> None:
        self.run(self.pool.execute("UPDATE outbox SET due_at = now() WHERE state = 'pending'"))

    @precondition(lambda self: self.owed)
    @rule(pick=picks, cancels=st.booleans())
    def an_operator_acts(self, pick: int, cancels: bool) -> None:
        row_id = list(self.owed)[pick % len(self.owed)]
        if cancels:
            self.run(self.pool.fetchval(queries.CANCEL_IF_DEAD_OR_PENDING, row_id, "operator"))
        else:
            self.run(self.pool.fetchval(queries.RETRY_IF_DEAD_OR_PENDING, row_id, 86_400.0, "operator"))

    @invariant()
    def promises_hold(self) -> None:
        ids = list(self.owed)
        rows, settled = self.run(self.pool.fetch(READ_ROWS, ids)), self.run(self.pool.fetch(READ_SETTLED, ids))
        open_ids, ended = {row["id"] for row in rows}, Counter(row["id"] for row in settled)
        assert open_ids | ended.keys() == self.owed.keys(), "P1: what is owed is there"
        assert not open_ids & ended.keys(), "P3: settled once and for all"
        assert set(ended.values()) <= {1}, "P3"
        for row in rows:
            assert row["is_leased"] == (row["state"] == "leased"), "P8"
            assert row["has_due_time"] == (row["state"] != "dead"), "P8: what is open comes up again"
        for row in settled:
            assert row["noted"] == 1, "P7: history says how it ended, once"
            assert row["outcome"] != "delivered" or self.performed[row["id"]], "P3: settled after it took place"
        delivered = sum(row["outcome"] == "delivered" and self.owed[row["id"]] == "stats" for row in settled)
        counted = self.run(self.pool.fetchval(READ_COUNTED)) - self.counted_before
        assert counted == delivered, "P3: statistics count each once"

    def teardown(self) -> None:
        """No worker is left: another one finishes all of it."""
        self.run(self.pool.execute("UPDATE outbox SET due_at = now() WHERE state <> 'dead'"))
        while batches := self.run(self._claim([100, 100])):
            for batch in batches:
                self.run(self._settle(batch, "delivered"))
        assert self.run(self.pool.fetchval("SELECT count(*) FROM outbox WHERE state <> 'dead'")) == 0, "P8"
        self.promises_hold()

    async def _claim(self, rooms: list[int]) -> list[Batch]:
        lease, count = uuid4(), len(EFFECTS)
        rows = await self.pool.fetch(
            queries.CLAIM_DUE, EFFECTS, rooms, [LONG_AGO] * count, [LEASE_SECONDS] * count, lease
        )
        batches = {effect: [row["id"] for row in rows if row["effect"] == effect] for effect in EFFECTS}
        return [Batch(lease, effect, ids) for effect, ids in batches.items() if ids]

    async def _settle(self, batch: Batch, verdict: str) -> None:
        count = len(batch.ids)
        if verdict == "delivered":
            self.performed.update(batch.ids)
            is_counted = batch.effect == "stats"
            statement = queries.SETTLE_COUNTED_IF_LEASED if is_counted else queries.SETTLE_DELIVERED_IF_LEASED
            await self.pool.fetchval(statement, batch.lease, batch.ids, ["{}"] * count)
        elif verdict == "retry":
            columns = ([60.0] * count, ["429"] * count, [1] * count)
            await self.pool.fetchval(queries.SETTLE_RETRY_IF_LEASED, batch.lease, batch.ids, *columns)
        elif verdict == "dead":
            await self.pool.fetchval(queries.SETTLE_DEAD_IF_LEASED, batch.lease, batch.ids, ["422"] * count)
        elif verdict == "canceled":
            await self.pool.fetchval(queries.SETTLE_CANCELED_IF_LEASED, batch.lease, batch.ids, ["obsolete"] * count)
        elif verdict == "released":
            await self.pool.fetchval(queries.RELEASE_IF_LEASED, batch.lease, batch.ids, "503")


def test_the_outbox_keeps_its_promises_in_any_order_of_steps(signup_url: str) -> None:
    try_orders(Outbox, signup_url)
