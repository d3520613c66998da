"""P8 and P9: nothing is left over when all faults have ended, and no outage cost an attempt."""

from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence
from .violation import Violation

_FINAL = ("sent", "bounced", "uncertain", "failed", "suppressed", "canceled")
# Effects whose only verdict on a row is to take it. A profile is written again when its user changes meanwhile.
_TAKEN_AT_ONCE = ("mail", "stats")


def nothing_is_lost(evidence: Evidence) -> list[Violation]:
    """P8: kill -9, restarts, lost connections and lost answers lose nothing."""
    return [*_work_left(evidence), *_clients_left(evidence)]


def _work_left(evidence: Evidence) -> Iterator[Violation]:
    for effect in evidence.effects:
        if effect.state in ("pending", "leased"):
            yield Violation(effect.id, f"{effect.effect} {effect.what} is still {effect.state}")
    for lease in evidence.leases:
        yield Violation(lease.row, f"its lease in {lease.table} is overdue")
    for mail in evidence.mails:
        if mail.state not in _FINAL or mail.is_queued:
            yield Violation(mail.id, f"is still {mail.state}{' and queued' if mail.is_queued else ''}")
    for attempt in evidence.attempts:
        if attempt.outcome is None:
            yield Violation(attempt.mail_id, f"attempt {attempt.n} is still {attempt.phase}")


def _clients_left(evidence: Evidence) -> Iterator[Violation]:
    for ask in evidence.asks:
        if not ask.is_accepted and not ask.is_refused:
            last = ask.failures[-1].what if ask.failures else "no answer"
            yield Violation(ask.key, f"{ask.kind} never got a yes after {len(ask.failures)} tries, the last: {last}")
        for failure in ask.failures:
            if failure.what == "500":
                yield Violation(ask.key, f"{ask.kind} was answered 500")


def outages_are_free(evidence: Evidence) -> list[Violation]:
    """P9: an outage downstream costs no retries: only a verdict on a message counts against it."""
    return [*_mails(evidence), *_effects(evidence)]


def _mails(evidence: Evidence) -> Iterator[Violation]:
    counted: Counter[str] = Counter()
    for attempt in evidence.attempts:
        counted[attempt.mail_id] += attempt.counted
        if attempt.outcome == "gateway_fault" and attempt.counted:
            yield Violation(attempt.mail_id, f"attempt {attempt.n} is a gateway's fault, and counts")
    for mail in evidence.mails:
        if mail.attempts != counted[mail.id]:
            yield Violation(mail.id, f"says {mail.attempts} attempts, {counted[mail.id]} count")
        if mail.state == "expired":
            yield Violation(mail.id, "expired during an outage")


def _effects(evidence: Evidence) -> Iterator[Violation]:
    for effect in evidence.effects:
        if effect.effect in _TAKEN_AT_ONCE and effect.attempts > 1:
            yield Violation(effect.id, f"{effect.effect} {effect.what} took {effect.attempts} attempts")
