"""History of mails as the service writes it, for readers of the change feed."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from shared.db.pool import Pool

from .databases import Clone
from .mails import insert_mails

_TELL = """
INSERT INTO history (kind, subject, actor, detail) SELECT $1, $2::uuid::text, 'mail-worker', $3::jsonb RETURNING id
"""
# What each kind says about the state of its mail.
_STATES = {
    "mail.accepted": "queued",
    "mail.sent": "sent",
    "mail.deferred": "deferred",
    "mail.failed": "failed",
    "mail.bounced": "bounced",
    "mail.uncertain": "uncertain",
    "mail.suppressed": "suppressed",
    "mail.expired": "expired",
    "mail.requeued": "queued",
}


@dataclass(frozen=True)
class MailEvents:
    clone: Clone

    @property
    def pool(self) -> Pool:
        return self.clone.database.pool

    async def mails(self, count: int = 1) -> list[UUID]:
        """Mails of the client `tests`."""
        return await insert_mails(self.pool, count)

    async def tell(self, kind: str, mail_id: UUID, *, within: asyncpg.Connection | None = None, **detail: Any) -> UUID:
        """One entry of history, committed unless `within` a transaction. Returns its ID."""
        if kind in _STATES:
            detail = {"state": _STATES[kind], **detail}
        entry: UUID = await (within or self.pool).fetchval(_TELL, kind, mail_id, orjson.dumps(detail).decode())
        return entry

    async def waiting(self) -> list[dict[str, Any]]:
        rows = await self.pool.fetch("SELECT * FROM webhook_deliveries ORDER BY position, id")
        return [dict(row) for row in rows]

    async def settled(self) -> list[dict[str, Any]]:
        rows = await self.pool.fetch("SELECT * FROM webhook_deliveries_settled ORDER BY settled_at, id")
        return [dict(row) for row in rows]

    async def make_due(self) -> None:
        """What waits for its next attempt is due, and the lease of a worker that was lost is over."""
        await self.pool.execute("UPDATE webhook_deliveries SET due_at = now()")

    async def let_pass(self, interval: str) -> None:
        """Move everything that webhooks keep back in time, so that this much has passed."""
        moved = {
            "webhook_deliveries": ("occurred_at", "due_at", "expires_at"),
            "webhook_feeds": ("since", "until", "created_at"),
            "webhook_subscribers": ("enabled_at", "rotated_at"),
        }
        for table, columns in moved.items():
            changes = ", ".join(f"{column} = {column} - interval '{interval}'" for column in columns)
            await self.clone.as_owner(f"UPDATE {table} SET {changes}")
