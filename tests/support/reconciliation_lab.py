"""Both ledgers in their own databases with the real mail API in between, and ways to damage them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import orjson

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.mail_service import MailService
from services.signup.outbox.effects.mail import MailEffect
from services.signup.reconciliation.feed_follower import FeedFollower
from services.signup.reconciliation.queries import REQUEST_RUN
from services.signup.reconciliation.reconciler import Reconciler
from services.signup.reconciliation.repair import Repairer
from services.signup.reconciliation.scan import LedgerScan
from services.signup.verification_token import TokenRing
from shared.contract.ids import UUID, uuid7
from shared.db.pool import Pool
from shared.worker.circuit_breaker import Breaker, BreakerPolicy

from .databases import Clone
from .relays import LoneRelay
from .signups import SignupLedger

# What delivery commits after a gateway's 250.
SENT = """
WITH sent AS (
    UPDATE mails SET state = 'sent', sent_at = now(), next_attempt_at = NULL WHERE state = 'queued' RETURNING id
), gone AS (
    DELETE FROM queue
)
INSERT INTO history (kind, subject, actor, detail) SELECT 'mail.sent', id::text, 'test', '{"state": "sent"}' FROM sent
"""
# Deletes mails as a restore of an older backup would.
DELETE_MAILS = [
    "DELETE FROM attempts WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM queue WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM contents WHERE mail_id = ANY ($1::uuid[])",
    "DELETE FROM mails WHERE id = ANY ($1::uuid[])",
]
INSERT_UNREQUESTED_MAILS = """
INSERT INTO mails (id, client, request_id, fingerprint, state, to_email, to_key, on_uncertain, lane, message_id,
                   sent_at, expires_at)
SELECT uuidv7(), 'signup', id, sha256('x'), 'sent', 'x@x.example', 'x@x.example', 'hold', 'live', '<x@x.example>',
       now(), now()
FROM unnest($1::text[]) AS id
"""


@dataclass
class Laboratory:
    """Loops run only when the test calls them."""

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
        return SignupLedger(self.signup, self.ring, self.policy)

    @property
    def mail_service(self) -> MailService:
        return MailService(self.http, timeout_seconds=30)

    def follower(self) -> FeedFollower:
        return FeedFollower(self.pool, self.mail_service, Breaker("feed"), lag_seconds=self.lag_seconds)

    def reconciler(self, *, stuck_seconds: float = 3600, lease_seconds: float = 30, **options: Any) -> Reconciler:
        return Reconciler(
            self.pool,
            self.follower(),
            LedgerScan(self.pool, self.mail_service, stuck_seconds=stuck_seconds),
            Repairer(self.pool, self.mail_service, self.policy),
            lease_seconds=lease_seconds,
            **options,
        )

    async def hand_over(self) -> None:
        """Run the relay until nothing is due."""
        effect = MailEffect(self.http, self.ring, timeout_seconds=5)
        relay = LoneRelay(self.pool, effect, breaker=Breaker("mail", BreakerPolicy()), batch=500, lease_seconds=30)
        while await relay.run_once():
            pass

    async def deliver(self) -> None:
        """Mark all queued mails as sent."""
        await self.mail.database.pool.execute(SENT)

    async def follow(self) -> None:
        follower = self.follower()
        while await follower.follow():
            pass

    async def mailed(self, count: int) -> list[UUID]:
        """Sign up `count` people and send their mails; signup knows it. Returns the request IDs, oldest first."""
        await self.ledger.sign_up(*(f"{uuid7().hex}@x.example" for _ in range(count)))
        ids = [row["id"] for row in await self.pool.fetch("SELECT id FROM outbox WHERE effect = 'mail' ORDER BY id")]
        await self.hand_over()
        await self.deliver()
        await self.follow()
        return ids

    async def forget(self, request_ids: Sequence[UUID], *, without_trace: bool = False) -> None:
        """Delete these mails from the mail ledger; `without_trace` also from `lost_mails`, as a restore does."""
        owner = await asyncpg.connect(self.mail.owner_url)
        ids = await owner.fetch("SELECT id FROM mails WHERE request_id = ANY ($1)", [*map(str, request_ids)])
        for statement in DELETE_MAILS:
            await owner.execute(statement, [row["id"] for row in ids])
        if without_trace:
            await owner.execute("DELETE FROM lost_mails WHERE mail_id = ANY ($1)", [row["id"] for row in ids])
        await owner.close()

    async def mails(self) -> dict[str, dict[str, Any]]:
        """The mail ledger, by request ID."""
        return {row["request_id"]: dict(row) for row in await self.mail.database.pool.fetch("SELECT * FROM mails")}

    async def request_run(
        self, *, begins: datetime | None = None, ends: datetime | None = None, repair: bool = True
    ) -> UUID:
        row = await self.pool.fetchrow(REQUEST_RUN, begins, ends, self.lag_seconds, repair, "test", None)
        assert row is not None
        run: UUID = row["id"]
        return run

    async def run(self, *, stuck_seconds: float = 3600, **request: Any) -> dict[str, Any]:
        """Run a whole reconciliation and return its row. `request`: of `request_run`."""
        run = await self.request_run(**request)
        reconciler = self.reconciler(stuck_seconds=stuck_seconds)
        while await reconciler.run_once():
            pass
        return await self.result(run)

    async def result(self, run: UUID) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM reconciliation_runs WHERE id = $1", run)
        assert row is not None
        return {name: orjson.loads(value) if name in {"repaired", "examples"} else value for name, value in row.items()}

    async def named(self, kind: str) -> set[str]:
        """The request IDs of all findings of a kind, over all runs."""
        rows = await self.pool.fetch("SELECT request_id FROM reconciliation_findings WHERE kind = $1", kind)
        return {row["request_id"] for row in rows}


def counts(run: dict[str, Any]) -> dict[str, int]:
    """The counts of a run, without zeros."""
    kinds = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users", "known")
    return {kind: run[kind] for kind in kinds if run[kind]}
