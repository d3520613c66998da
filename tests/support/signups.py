"""The signup ledger: tests read it and change it without the service."""

from dataclasses import dataclass
from typing import Any

import orjson

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.accounts.sign_up import Caller, Details, SignedUp, SignupCommand, write
from services.signup.verification_token import TokenRing
from shared.contract.addresses import parse_address
from shared.contract.correlation import Correlation
from shared.contract.ids import UUID
from shared.db.pool import Pool

from .databases import Clone

ANONYMOUS = Caller(None, "anonymous", "anonymous:test")


@dataclass(frozen=True)
class SignupLedger:
    clone: Clone
    ring: TokenRing
    policy: EffectPolicy

    @property
    def pool(self) -> Pool:
        return self.clone.database.pool

    async def sign_up(self, *emails: str) -> list[SignedUp]:
        """Sign people up without the API; each is owed a verification mail."""
        commands = [
            SignupCommand(
                Details(parse_address(email), email.partition("@")[0]), ANONYMOUS, Correlation(f"because-of-{email}")
            )
            for email in emails
        ]
        results = await write(self.pool, commands, self.policy)
        return [results[command.email_key] for command in commands]

    async def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        """Rows of a table, oldest first."""
        condition = " AND ".join(f"{name} = ${n}" for n, name in enumerate(where, 1)) or "true"
        found = await self.pool.fetch(f"SELECT * FROM {table} WHERE {condition} ORDER BY id", *where.values())
        return [
            {
                key: orjson.loads(value) if key in {"payload", "result", "detail"} else value
                for key, value in row.items()
            }
            for row in found
        ]

    async def row(self, table: str, **where: Any) -> dict[str, Any]:
        (only,) = await self.rows(table, **where)
        return only

    async def counts(self) -> dict[str, int]:
        """The number of rows in each table that a signup may write."""
        return {
            table: await self.pool.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("users", "outbox", "outbox_settled", "history", "idempotency_keys")
        }

    async def run(self, statement: str, *values: Any) -> None:
        await self.clone.as_owner(statement, *values)

    async def let_the_cooldown_pass(self) -> None:
        await self.run("UPDATE users SET last_mail_at = last_mail_at - interval '1 hour'")

    async def token(self, email: str) -> str:
        """The token of the newest verification mail to an address."""
        outbox_id: UUID = await self.pool.fetchval(
            "SELECT id FROM outbox WHERE payload #>> '{to,email}' = $1 AND payload ->> 'template' = 'verification' "
            "ORDER BY id DESC LIMIT 1",
            email,
        )
        return self.ring.sign(outbox_id, self.ring.signing_key_id)
