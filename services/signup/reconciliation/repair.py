"""Repairs what a reconciliation found and what is safe to repair: a mail that either ledger knows as sent, or as being
sent, is not sent again.

Works on the findings of a run, which are committed already. Each method repairs a batch, commits it with its history
lines and count, and returns the last finding that it handled, or None when there are no more.
"""

from typing import Any

from shared.contract.ids import UUID
from shared.db.pool import Pool, Record
from shared.observability.logs import get_logger

from ..accounts.effect_policy import EffectPolicy
from ..mail_service import MailService, RefusedError
from ..process_names import WORKER
from . import repair_queries as queries

_log = get_logger(__name__)


class Repairer:
    def __init__(self, pool: Pool, mail_service: MailService, policy: EffectPolicy) -> None:
        self._pool = pool
        self._mail_service = mail_service
        self._policy = policy

    async def restore(self, run: UUID, lease: UUID, after: UUID) -> UUID | None:
        """Writes lost records back into the mail service's ledger, as sent, and takes mails that wait there again out
        of its queue. They are never sent again.

        Raises:
            PeerFaultError: the mail service gave no answer.
        """
        rows = await self._pool.fetch(queries.NEXT_LOST, run, after)
        if not rows:
            return None
        # A user who was erased since the scan has no address any more.
        restorable = [row for row in rows if row["email"] and row["message_id"]]
        try:
            restored = await self._mail_service.restore([_sent_mail(row) for row in restorable]) if restorable else []
        except RefusedError:
            restored = await self._restore_one_by_one(restorable)
        await self._pool.execute(queries.KEEP_RESTORED_IF_LEASED, run, lease, "mail.record_restored", WORKER, restored)
        return _last(rows)

    async def _restore_one_by_one(self, rows: list[Record]) -> list[str]:
        """A record that is refused must not keep the others from being written back."""
        restored: list[str] = []
        for row in rows:
            try:
                restored += await self._mail_service.restore([_sent_mail(row)])
            except RefusedError:
                _log.warning("record_not_restored", request_id=row["request_id"])
        return restored

    async def requeue(self, run: UUID, lease: UUID, after: UUID) -> UUID | None:
        """Puts mails that still waited when last reported back into the outbox: same request ID, same pinned payload.
        A mail that was being sent may have left: it is reported, and not requested again.
        """
        rows = await self._pool.fetch(queries.NEXT_MISSING, run, after)
        if not rows:
            return None
        ids = [UUID(row["request_id"]) for row in rows]
        await self._pool.execute(
            queries.REQUEUE_IF_LEASED, run, lease, "outbox.requeued", WORKER, ids, self._policy.give_up_seconds
        )
        return _last(rows)

    async def serve(self, run: UUID, lease: UUID, after: UUID) -> UUID | None:
        """Owes a verification mail to users who have none, or only expired ones."""
        rows = await self._pool.fetch(queries.NEXT_UNSERVED, run, after)
        if not rows:
            return None
        await self._pool.execute(
            queries.OWE_MAIL_IF_LEASED_AND_UNSERVED,
            run,
            lease,
            "user.mail_owed",
            WORKER,
            [UUID(row["request_id"]) for row in rows],
            self._policy.pinned,
            self._policy.give_up_seconds,
        )
        return _last(rows)


def _sent_mail(row: Record) -> dict[str, Any]:
    mail = {
        "request_id": row["request_id"],
        "fingerprint": row["fingerprint"],
        "to": {"email": row["email"], "name": row["name"]},
        "sent_at": row["sent_at"],
        "message_id": row["message_id"],
    }
    if row["template"]:
        mail["template"] = row["template"]
    if row["even_if_known"]:
        mail["even_if_known"] = True
    return mail


def _last(rows: list[Record]) -> UUID:
    last: UUID = rows[-1]["id"]
    return last
