"""The trace span of an SMTP attempt. It starts at the claim and is made once the outcome is on record.

Its parent is the accept span of the mail. It holds nothing that a gateway said. Callers in a loop check `tracing.on`.
"""

import time
from uuid import UUID

from shared.db.pool import Record
from shared.observability.spans import Kind, Tracing, message_attributes

from .claim import ClaimedMail
from .recorder import AttemptEnd
from .smtp_outcomes import Outcome, Verdict
from .states import Phase


def record_attempt_span(
    tracing: Tracing, mail: ClaimedMail, gateway: str | None, verdict: Verdict, *, may_have_left: bool
) -> None:
    """Called by the worker that made the attempt."""
    phase = Phase.TRANSMITTING if may_have_left else Phase.CLAIMED
    seconds_ago = time.monotonic() - mail.claimed_monotonic
    _record(tracing, mail.traceparent, mail.mail_id, mail.snapshot.attempt, phase, gateway, verdict, seconds_ago)


def record_rescue_span(tracing: Tracing, row: Record, ending: AttemptEnd) -> None:
    """Called by the rescue, because the attempt's own worker is lost and its span with it."""
    phase = Phase(row["phase"] or Phase.CLAIMED)
    verdict, seconds_ago = ending.settlement.verdict, row["seconds"] or 0.0
    _record(tracing, row["traceparent"], ending.mail_id, ending.n, phase, ending.gateway, verdict, seconds_ago)


def _record(
    tracing: Tracing,
    traceparent: str | None,
    mail_id: UUID,
    n: int,
    phase: Phase,
    gateway: str | None,
    verdict: Verdict,
    seconds_ago: float,
) -> None:
    attributes = message_attributes("deliver", "process", "mail.queue", mail_id)
    attributes |= {"counterfoil.attempt": n, "counterfoil.outcome": verdict.outcome.value}
    attributes |= {"counterfoil.phase": phase.value, "network.protocol.name": "smtp"}
    if gateway is not None:
        attributes["counterfoil.gateway"] = gateway
    if verdict.code is not None:
        attributes["counterfoil.smtp.code"] = verdict.code
    if verdict.enhanced_code is not None:
        attributes["counterfoil.smtp.enhanced_code"] = verdict.enhanced_code
    span = tracing.begin(
        "deliver mail.queue", Kind.CONSUMER, parent=traceparent, attributes=attributes, seconds_ago=seconds_ago
    )
    span.end(error=None if verdict.outcome is Outcome.ACCEPTED else verdict.outcome.value)
