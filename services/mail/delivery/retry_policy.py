"""The states of a mail and of an attempt, and the decision what comes after an attempt. Pure: no I/O, no clock.

The database holds the same rules as CHECK constraints; docs/states.md is drawn from the tables here.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.worker.backoff import equal_jitter

from .smtp_outcomes import Outcome, Verdict
from .states import MailState


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    base_seconds: float = 300.0
    cap_seconds: float = 14_400.0
    # One mail that a gateway always drops, while it takes all others, would spin: no breaker opens for it.
    faults_at_once: int = 5
    fault_cap_seconds: float = 10.0
    # Before expiry: time enough for one more conversation.
    last_chance_seconds: float = 10.0
    draw: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class MailSnapshot:
    """What is known of a mail when an attempt at it ends."""

    attempt: int  # this one's number, from 1
    counted: int  # verdicts before this one
    on_uncertain: str
    in_doubt: bool  # an earlier attempt ended `unknown`
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to be written. `due_in_seconds` is None when the mail leaves the queue."""

    state: MailState
    kind: str
    verdict: Verdict
    reason: str
    due_in_seconds: float | None = None


def decide_next(
    mail: MailSnapshot, verdict: Verdict, now: datetime, policy: RetryPolicy, *, worker_lost: bool = False
) -> Settlement:
    """What follows from `verdict`. `worker_lost`: its lease ran out long ago, so a resend need not wait again."""
    match verdict.outcome:
        case Outcome.ACCEPTED:
            settlement = Settlement(MailState.SENT, "mail.sent", verdict, verdict.reason)
        case Outcome.REFUSED:
            settlement = _give_up(mail, verdict, verdict.reason)
        case Outcome.TRY_LATER:
            wait = _wait(mail, now, policy)
            settlement = (
                _give_up(mail, verdict, f"{verdict.reason}; given up, it expires before another try")
                if wait is None
                else Settlement(MailState.DEFERRED, "mail.deferred", verdict, verdict.reason, wait)
            )
        case Outcome.UNKNOWN:
            wait = 0.0 if worker_lost else _wait(mail, now, policy)
            settlement = (
                Settlement(MailState.UNCERTAIN, "mail.uncertain", verdict, verdict.reason)
                if mail.on_uncertain != "resend" or wait is None or mail.expires_at <= now
                else Settlement(MailState.QUEUED, "mail.requeued", verdict, verdict.reason, wait)
            )
        case Outcome.GATEWAY_FAULT:
            state = MailState.DEFERRED if mail.counted else MailState.QUEUED
            settlement = Settlement(state, "mail.requeued", verdict, verdict.reason, _fault_wait(mail, policy))
    return settlement


def _give_up(mail: MailSnapshot, verdict: Verdict, reason: str) -> Settlement:
    if mail.in_doubt:
        reason = f"{reason}; an earlier attempt ended unknown"
        return Settlement(MailState.UNCERTAIN, "mail.uncertain", verdict, reason)
    return Settlement(MailState.FAILED, "mail.failed", verdict, reason)


def _wait(mail: MailSnapshot, now: datetime, policy: RetryPolicy) -> float | None:
    """Seconds until the next try, drawn in just before expiry where the jitter allows it; None: no more tries."""
    bound = min(policy.cap_seconds, policy.base_seconds * 2 ** min(mail.counted, 30))
    wait = equal_jitter(
        mail.counted + 1, base_seconds=policy.base_seconds, cap_seconds=policy.cap_seconds, draw=policy.draw
    )
    left = (mail.expires_at - now - timedelta(seconds=policy.last_chance_seconds)).total_seconds()
    if wait <= left:
        return wait
    return left if left >= bound / 2 else None


def _fault_wait(mail: MailSnapshot, policy: RetryPolicy) -> float:
    """At once, for the breaker does the waiting; but see `RetryPolicy.faults_at_once`."""
    faults = mail.attempt - mail.counted
    if faults <= policy.faults_at_once:
        return 0.0
    return float(min(policy.fault_cap_seconds, 0.25 * 2 ** min(faults - policy.faults_at_once, 30)))
