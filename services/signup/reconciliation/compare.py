"""Compares one mail in both ledgers and decides what is wrong with it. Pure: reads nothing.

It also decides what can be repaired: only what neither mails a person twice nor overrules a decision.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.contract.addresses import key_of
from shared.contract.ids import UUID

from ..mail_service import LedgerMail, LostMail

_SENT = frozenset({"sent", "bounced"})
# Under way when last reported: nothing says that they were sent, or that they must not be.
_UNDER_WAY = frozenset({"queued", "sending", "deferred"})
# The feed never reports this state. The answer to a repeated request does, and so does what the mail service remembers
# of a deleted row.
_SENDING = "sending"
# States that the mail service changes to `sent` when its client says so. Canceled and suppressed mails never leave.
_CORRECTABLE = _UNDER_WAY | {"uncertain", "failed", "expired"}
_STATE = "state"
_UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Finding:
    """`mark` is what was seen: a finding that cannot be repaired is reported again only when its mark changes."""

    kind: str
    request_id: str
    reason: str
    mark: str
    repairable: bool = False
    mail_id: UUID | None = None
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class OwnRecord:
    """A row of `outbox_settled`, with everything that signup's ledger knows about its mail."""

    id: UUID
    user_id: UUID | None
    created_at: datetime
    outcome: str
    to_email: str | None
    fingerprint: str | None
    answered_state: str | None
    waiting: bool
    served: bool
    known_state: str | None
    sent_at: datetime | None
    known_fingerprint: str | None

    @property
    def known_sent(self) -> bool:
        return self.sent_at is not None or self.known_state in _SENT or self.answered_state in _SENT

    @property
    def restorable(self) -> bool:
        """Whether enough is known to write it into the mail service's ledger. Without `sent_at` there is no Message-ID
        either: an answer reported `sent`, but the feed did not.
        """
        return self.sent_at is not None and self.to_email is not None

    def informed_by(self, lost: LostMail) -> "OwnRecord":
        """Adds what the mail service remembers of a mail whose row was deleted there. A final state here stays."""
        return replace(
            self,
            known_state=lost.state if self.known_state is None or self.known_state in _UNDER_WAY else self.known_state,
            sent_at=self.sent_at or lost.sent_at,
            known_fingerprint=self.known_fingerprint or lost.fingerprint,
        )


def judge(
    own: OwnRecord, mail: LedgerMail | None, *, now: datetime, stuck_seconds: float, run: str
) -> Iterator[Finding]:
    """Yields what is wrong with a mail that signup requested. `mail` is its record in the mail service's ledger."""
    if mail is None:
        if own.outcome == "delivered" and not own.waiting:
            yield _lost(own) if own.known_sent else _missing(own)
        return
    differing = list(_differences(own, mail))
    if differing:
        yield Finding(
            "different",
            str(own.id),
            "differs in " + ", ".join(differing),
            _digest(*differing, mail.fingerprint, mail.to.email or ""),
            # That it was sent is a fact. For any other difference, neither ledger is right by itself.
            differing == [_STATE] and mail.state in _CORRECTABLE and own.restorable,
            mail.id,
            own.user_id,
        )
    if _STATE not in differing and is_stuck(mail, now, stuck_seconds):
        # Reported by every run that sees it: a wait is no less wrong for having been reported before.
        reason = f"{mail.state} too long at the mail service"
        yield Finding("stuck", str(own.id), reason, run, mail_id=mail.id, user_id=own.user_id)


def _lost(own: OwnRecord) -> Finding:
    repairable = own.restorable
    reason = "sent" if repairable else "erased" if own.to_email is None else "sent, at a time not known here"
    return Finding("lost_records", str(own.id), reason, reason, repairable, user_id=own.user_id)


def _missing(own: OwnRecord) -> Finding:
    last = own.known_state or own.answered_state
    if own.to_email is None:
        reason, repairable = "erased", False
    elif own.served:
        # A user who clicked the link received the mail.
        reason, repairable = "its user is verified", False
    elif _SENDING in {own.known_state, own.answered_state} and last in _UNDER_WAY:
        # As good as uncertain (P5). Its `on_uncertain` is not on record here, so no second copy is requested.
        reason, repairable = "was being sent there: it may have left", False
    elif last is None or last in _UNDER_WAY:
        reason, repairable = "unknown to the mail service", True
    else:
        # Failed, expired, suppressed, canceled: decided already. Uncertain: it may have been sent (P5).
        reason, repairable = f"was {last} there", False
    return Finding("missing", str(own.id), reason, reason, repairable, user_id=own.user_id)


def _differences(own: OwnRecord, mail: LedgerMail) -> Iterator[str]:
    expected = own.fingerprint or own.known_fingerprint
    if expected is not None and expected != mail.fingerprint:
        yield "fingerprint"
    # Either side may be erased already.
    if own.to_email is not None and mail.to.email is not None and not same_person(own.to_email, mail.to.email):
        yield "recipient"
    if own.known_sent and mail.state not in _SENT:
        # The mail service's ledger went back in time: it may be about to send this mail again.
        yield _STATE
    elif own.known_state == _UNCERTAIN and mail.state in _UNDER_WAY and mail.attempts == 0:
        # The same: signup knows of an attempt that is not on record there and that may have arrived (P5).
        yield _STATE


def same_person(email: str, other: str) -> bool:
    """Whether two spellings are one address. An unreadable address equals only itself."""
    if email == other:
        return True
    try:
        return key_of(email) == key_of(other)
    except UnicodeError:
        return False


def is_stuck(mail: LedgerMail, now: datetime, stuck_seconds: float) -> bool:
    """Whether a mail is still under way long after its time: it should have been given up or looked at."""
    long_ago = now - timedelta(seconds=stuck_seconds)
    return mail.state in _UNDER_WAY and min(mail.expires_at, mail.next_attempt_at or mail.expires_at) <= long_ago


def unexpected(mail: LedgerMail) -> Finding:
    """A mail that signup never requested."""
    return Finding("unexpected", mail.request_id, "never requested by signup", str(mail.id), mail_id=mail.id)


def _digest(*parts: str) -> str:
    # A hash, because findings outlive the person.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
