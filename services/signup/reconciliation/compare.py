"""What one mail looks like in both ledgers, and what is wrong with it. Pure: decides, reads nothing.

Which of it can be mended is decided here too: only what can neither mail a person twice nor overrule a decision.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.contract.addresses import key_of
from shared.contract.ids import UUID

from ..mail_service import LedgerMail, LostMail

_SENT = frozenset({"sent", "bounced"})
# On their way when last heard of: nobody has said that they were sent, or that they must not be.
_UNDER_WAY = frozenset({"queued", "sending", "deferred"})
# The feed tells of no mail that it is being sent. An answer to a request that was repeated does, and what the mail
# service remembers of a deleted row.
_SENDING = "sending"
# What the mail service turns into `sent` on its client's word; canceled and suppressed mails never leave any more.
_CORRECTABLE = _UNDER_WAY | {"uncertain", "failed", "expired"}
_STATE = "state"
_UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Finding:
    """`mark` is what was seen: a finding that cannot be repaired is named again only when its mark changes."""

    kind: str
    request_id: str
    reason: str
    mark: str
    repairable: bool = False
    mail_id: UUID | None = None
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class OwnRecord:
    """A row of `outbox_settled`, with everything that signup's ledger knows of its mail."""

    id: UUID
    user_id: UUID | None
    created_at: datetime
    outcome: str
    to_email: str | None
    fingerprint: str | None
    told_state: str | None
    waiting: bool
    served: bool
    known_state: str | None
    sent_at: datetime | None
    known_fingerprint: str | None

    @property
    def known_sent(self) -> bool:
        return self.sent_at is not None or self.known_state in _SENT or self.told_state in _SENT

    @property
    def restorable(self) -> bool:
        """Whether enough is known to write it into the other ledger. Without the time there is no Message-ID either:
        signup was told `sent` in an answer, but not by the feed.
        """
        return self.sent_at is not None and self.to_email is not None

    def informed_by(self, lost: LostMail) -> "OwnRecord":
        """With what the other ledger remembers of a mail whose row was deleted there. An end that is known here stays."""
        return replace(
            self,
            known_state=lost.state if self.known_state is None or self.known_state in _UNDER_WAY else self.known_state,
            sent_at=self.sent_at or lost.sent_at,
            known_fingerprint=self.known_fingerprint or lost.fingerprint,
        )


def judge(
    asked: OwnRecord, there: LedgerMail | None, *, now: datetime, stuck_seconds: float, run: str
) -> Iterator[Finding]:
    """What is wrong with a mail that was asked for; `there` is how the mail service's ledger has it."""
    if there is None:
        if asked.outcome == "delivered" and not asked.waiting:
            yield _lost(asked) if asked.known_sent else _missing(asked)
        return
    differing = list(_differences(asked, there))
    if differing:
        yield Finding(
            "different",
            str(asked.id),
            "differs in " + ", ".join(differing),
            _digest(*differing, there.fingerprint, there.to.email or ""),
            # That it was sent is a fact. What else differs has no side that is right by itself.
            differing == [_STATE] and there.state in _CORRECTABLE and asked.restorable,
            there.id,
            asked.user_id,
        )
    if _STATE not in differing and is_stuck(there, now, stuck_seconds):
        # Named by every run that sees it: waiting is no less wrong for having been said before.
        yield Finding("stuck", str(asked.id), f"{there.state} there", run, mail_id=there.id, user_id=asked.user_id)


def _lost(asked: OwnRecord) -> Finding:
    repairable = asked.restorable
    reason = "sent" if repairable else "erased" if asked.to_email is None else "sent, at a time not known here"
    return Finding("lost_records", str(asked.id), reason, reason, repairable, user_id=asked.user_id)


def _missing(asked: OwnRecord) -> Finding:
    last = asked.known_state or asked.told_state
    if asked.to_email is None:
        reason, repairable = "erased", False
    elif asked.served:
        # Whoever has clicked the link had the mail.
        reason, repairable = "its user is verified", False
    elif _SENDING in {asked.known_state, asked.told_state} and last in _UNDER_WAY:
        # As good as uncertain (P5). Its policy is not on record here, so nobody may ask for a second copy by himself.
        reason, repairable = "was being sent there: it may have left", False
    elif last is None or last in _UNDER_WAY:
        reason, repairable = "unknown there", True
    else:
        # Failed, expired, suppressed, canceled: somebody decided. Uncertain: it may have been sent (P5).
        reason, repairable = f"was {last} there", False
    return Finding("missing", str(asked.id), reason, reason, repairable, user_id=asked.user_id)


def _differences(asked: OwnRecord, there: LedgerMail) -> Iterator[str]:
    expected = asked.fingerprint or asked.known_fingerprint
    if expected is not None and expected != there.fingerprint:
        yield "fingerprint"
    # Either side may have been erased already.
    if asked.to_email is not None and there.to.email is not None and not same_person(asked.to_email, there.to.email):
        yield "recipient"
    if asked.known_sent and there.state not in _SENT:
        # That ledger went back in time: perhaps it is about to send what was sent.
        yield _STATE
    elif asked.known_state == _UNCERTAIN and there.state in _UNDER_WAY and there.attempts == 0:
        # So it did: an attempt is known here that it has no record of, and that may have arrived (P5).
        yield _STATE


def same_person(one: str, other: str) -> bool:
    """Whether two spellings are one address. What cannot be read as an address is nobody's."""
    if one == other:
        return True
    try:
        return key_of(one) == key_of(other)
    except UnicodeError:
        return False


def is_stuck(mail: LedgerMail, now: datetime, stuck_seconds: float) -> bool:
    """Still under way long after its time: it should have been given up, or looked at."""
    long_ago = now - timedelta(seconds=stuck_seconds)
    return mail.state in _UNDER_WAY and min(mail.expires_at, mail.next_attempt_at or mail.expires_at) <= long_ago


def unexpected(mail: LedgerMail) -> Finding:
    """A mail that was never asked for here."""
    return Finding("unexpected", mail.request_id, "never asked for here", str(mail.id), mail_id=mail.id)


def _digest(*parts: str) -> str:
    # A hash, because findings outlive the person.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
