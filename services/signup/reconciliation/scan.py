"""Scans both ledgers a page at a time: what a step of a reconciliation reads, and what it finds.

Writes nothing. Every page begins where the previous one ended, so any worker can continue a scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.contract.ids import UUID, lowest_uuid7
from shared.contract.mails import MAX_LOOKUP
from shared.db.pool import Pool

from ..mail_service import LostMail, MailService
from ..process_names import MAIL_CLIENT
from . import queries
from .compare import Finding, OwnRecord, judge, unexpected

_PAGE = 500
_ALERT = "alert/"
FIRST_ID = UUID(int=0)
# By how much the time in a user's ID may be before and after `created_at`. The ID is made later in the transaction; and
# when the server's clock is set back, its sessions go on with IDs of the time before, until the clock has come there.
EARLIER, LATER = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Run:
    """A claimed run. `now` is the database's clock at the claim."""

    id: UUID
    lease: UUID
    window_from: datetime
    window_to: datetime
    repair: bool
    position: Any
    now: datetime

    @property
    def after(self) -> UUID:
        """The position, in phases that scan by ID."""
        return UUID(self.position) if self.position else FIRST_ID


@dataclass(frozen=True)
class Step:
    """What a step found, and where the next one continues."""

    phase: str
    position: Any = None
    compared: int = 0
    findings: Sequence[Finding] = field(default_factory=tuple)
    # What the mail service remembers and this ledger may not know yet.
    lost: Sequence[LostMail] = field(default_factory=tuple)


class LedgerScan:
    """Raises PeerFaultError when the mail service gives no answer."""

    def __init__(self, pool: Pool, mail_service: MailService, *, stuck_seconds: float) -> None:
        self._pool = pool
        self._mail_service = mail_service
        self._stuck_seconds = stuck_seconds

    async def pending(self, run: Run) -> Step:
        rows = await self._pool.fetch(
            queries.NEXT_WAITING, run.window_from, run.window_to, run.after, self._stuck_seconds
        )
        stuck = [
            Finding("stuck", str(row["id"]), "waits too long in the outbox", str(run.id), user_id=row["user_id"])
            for row in rows
            if row["stuck"]
        ]
        if len(rows) < MAX_LOOKUP:
            return Step("settled", None, len(rows), stuck)
        return Step("pending", str(rows[-1]["id"]), len(rows), stuck)

    async def settled(self, run: Run) -> Step:
        """Compares every mail that was handed over with what the mail service knows under its request ID."""
        since, after = run.window_from, FIRST_ID
        if run.position:
            since, after = datetime.fromisoformat(run.position[0]), UUID(run.position[1])
        rows = await self._pool.fetch(queries.NEXT_SETTLED, since, after, run.window_to)
        if not rows:
            return Step("ledger")
        # After this ledger was read: a mail that it knows as sent is in the mail service's ledger, or was lost there.
        answer = await self._mail_service.look_up([str(row["id"]) for row in rows])
        findings: dict[tuple[str, str], Finding] = {}
        for row in rows:
            own, name = OwnRecord(**row), str(row["id"])
            if lost := answer.lost.get(name):
                own = own.informed_by(lost)
            seen = judge(own, answer.found.get(name), now=run.now, stuck_seconds=self._stuck_seconds, run=str(run.id))
            findings |= {(finding.kind, finding.request_id): finding for finding in seen}
        position = (rows[-1]["created_at"].isoformat(), str(rows[-1]["id"]))
        return Step("settled", position, len(rows), list(findings.values()), list(answer.lost.values()))

    async def ledger(self, run: Run) -> Step:
        """Finds mails that the mail service accepted from signup and that signup never requested."""
        page = await self._mail_service.list_accepted(run.window_from, run.window_to, run.position, _PAGE)
        mails = [mail for mail in page.items if mail.client == MAIL_CLIENT]
        names = [_name(mail.request_id) for mail in mails]
        ids = [uuid for name in names if (uuid := _uuid(name))]
        alerts = [uuid for name in names if (uuid := _uuid(name.removeprefix(_ALERT)))]
        requested = {row["name"] for row in await self._pool.fetch(queries.ASKED_FOR, ids, alerts)}
        findings = [unexpected(mail) for mail, name in zip(mails, names, strict=True) if name not in requested]
        if page.next_cursor is None:
            return Step("users", None, len(findings), findings)
        return Step("ledger", page.next_cursor, len(findings), findings)

    async def users(self, run: Run) -> Step:
        first = lowest_uuid7(run.window_from, -EARLIER)
        last = lowest_uuid7(run.window_to, LATER)
        rows = await self._pool.fetch(
            queries.NEXT_PENDING_USERS, run.window_from, run.window_to, max(run.after, first), last
        )
        unserved = [
            Finding(
                "unserved_users",
                str(row["id"]),
                "no verification mail, or only expired ones",
                "unserved",
                repairable=True,
                user_id=row["id"],
            )
            for row in rows
            if row["unserved"]
        ]
        if len(rows) < MAX_LOOKUP:
            return Step("restore" if run.repair else "finish", None, 0, unserved)
        return Step("users", str(rows[-1]["id"]), 0, unserved)


def _name(request_id: str) -> str:
    """Returns the name of a request ID in this ledger: one alert is several mails (shared.audit.operator_mail)."""
    if request_id.startswith(_ALERT):
        return "/".join(request_id.split("/")[:2])
    return request_id


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
