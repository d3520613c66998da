"""Both ledgers, each in a database of its own, with the real mail API in between; and what may go wrong with either."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import orjson

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.accounts.verification_token import TokenRing
from services.signup.mail_service import MailService
from services.signup.outbox.effects.mail import MailEffect
from services.signup.outbox.relay import Relay
from services.signup.reconciliation.feed_follower import FeedFollower
from services.signup.reconciliation.queries import REQUEST_RUN
from services.signup.reconciliation.reconciler import Reconciler
from services.signup.reconciliation.repair import Repairer
from services.signup.reconciliation.scan import LedgerScan
from shared.contract.ids import UUID, uuid7
from shared.db.pool import Pool
from shared.worker.circuit_breaker import Breaker, BreakerPolicy

from .databases import Clone
from .signups import SignupLedger

# What delivery commits when a gateway says 250.
SENT = """
WITH sent AS (
    UPDATE mails SET state = 'sent', sent_at = now(), next_attempt_at = NULL WHERE state = 'queued' RETURNING id
), gone AS (
    DELETE FROM queue
)
INSERT INTO history (kind, subject, actor, detail) SELECT 'mail.sent', id::text, 'test', '{"state": "sent"}' FROM sent
"""
# What a restore of an older backup does, as far as the ledger is concerned.
FORGET = [
    "DELETE FROM attempts WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM queue WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM contents WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM mails WHERE id = ANY ($1::uuid[])",
]
NOBODY_ASKED = """
INSERT INTO mails (id, client, request_id, fingerprint, state, to_email, to_key, on_uncertain, lane, message_id,
                   sent_at, expires_at)
SELECT uuidv7(), 'signup', id, sha256('x'), 'sent', 'x@x.example', 'x@x.example', 'hold', 'live', '<x@x.example>',
       now(), now()
FROM unnest($1::text[]) AS id
"""


@dataclass
class Laboratory:
    """Time passes when told to: nothing runs by itself."""

    signup: Clone
    mail: Clone
    http: httpx.AsyncClient
    ring: TokenRing
    policy: EffectPolicy
    lag_seconds: float = 0.0

    @property
    def pool(self) -> Pool:
        return self.signup.database.pool

    @property
    def ledger(self) -> SignupLedger:
        return SignupLedger(self.pool, self.ring, self.policy)

    @property
    def mail_service(self) -> MailService:
        return MailService(self.http, timeout_seconds=5)

    def follower(self) -> FeedFollower:
        return FeedFollower(self.pool, self.mail_service, Breaker("feed"), lag_seconds=self.lag_seconds)

    def reconciler(self, *, stuck_seconds: float = 3600, lease_seconds: float = 30) -> Reconciler:
        return Reconciler(
            self.pool,
            self.follower(),
            LedgerScan(self.pool, self.mail_service, stuck_seconds=stuck_seconds),
            Repairer(self.pool, self.mail_service, self.policy),
            lease_seconds=lease_seconds,
        )

    async def hand_over(self) -> None:
        """The relay works until nothing is due."""
        effect = MailEffect(self.http, self.ring, timeout_seconds=5)
        relay = Relay(self.pool, effect, breaker=Breaker("mail", BreakerPolicy()), batch=500, lease_seconds=30)
        while await relay.run_once():
            pass

    async def deliver(self) -> None:
        """Whatever is queued is sent."""
        await self.mail.database.pool.execute(SENT)

    async def follow(self) -> None:
        follower = self.follower()
        while await follower.follow():
            pass

    async def mailed(self, count: int) -> list[UUID]:
        """People whose verification mail was handed over, sent and heard of; the request IDs, oldest first."""
        await self.ledger.sign_up(*(f"{uuid7().hex}@x.example" for _ in range(count)))
        ids = [row["id"] for row in await self.pool.fetch("SELECT id FROM outbox WHERE effect = 'mail' ORDER BY id")]
        await self.hand_over()
        await self.deliver()
        await self.follow()
        return ids

    async def forget(self, request_ids: Sequence[UUID], *, without_trace: bool = False) -> None:
        """The mail service's ledger loses these mails; `without_trace`, as when the whole database lost them."""
        owner = await asyncpg.connect(self.mail.owner_url)
        ids = await owner.fetch("SELECT id FROM mails WHERE request_id = ANY ($1)", [str(one) for one in request_ids])
        for statement in FORGET:
            await owner.execute(statement, [row["id"] for row in ids])
        if without_trace:
            await owner.execute("DELETE FROM lost_mails WHERE mail_id = ANY ($1)", [row["id"] for row in ids])
        await owner.close()

    async def mails(self) -> dict[str, dict[str, Any]]:
        """The ledger, by request ID."""
        return {row["request_id"]: dict(row) for row in await self.mail.database.pool.fetch("SELECT * FROM mails")}

    async def asks_for_run(self, *, repair: bool = True) -> UUID:
        row = await self.pool.fetchrow(REQUEST_RUN, None, None, self.lag_seconds, repair, "test", None)
        assert row is not None
        run: UUID = row["id"]
        return run

    async def run(self, *, repair: bool = True, stuck_seconds: float = 3600) -> dict[str, Any]:
        """A whole reconciliation; what was found."""
        run = await self.asks_for_run(repair=repair)
        reconciler = self.reconciler(stuck_seconds=stuck_seconds)
        while await reconciler.run_once():
            pass
        return await self.result(run)

    async def result(self, run: UUID) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM reconciliation_runs WHERE id = $1", run)
        assert row is not None
        return {name: orjson.loads(value) if name in {"repaired", "examples"} else value for name, value in row.items()}

    async def named(self, kind: str) -> set[str]:
        """The request IDs of everything that was ever found to be so."""
        rows = await self.pool.fetch("SELECT request_id FROM reconciliation_findings WHERE kind = $1", kind)
        return {row["request_id"] for row in rows}


def counts(run: dict[str, Any]) -> dict[str, int]:
    """What a run counted, without the zeros."""
    kinds = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users", "known")
    return {kind: run[kind] for kind in kinds if run[kind]}
