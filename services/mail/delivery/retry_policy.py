"""The decision what follows an attempt. Pure: no I/O, no clock."""

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
    # Beyond these, a mail that the gateway always drops while it accepts others would spin: no breaker opens for it.
    faults_at_once: int = 5
    fault_cap_seconds: float = 10.0
    # The last try comes this long before expiry: enough for one conversation.
    last_chance_seconds: float = 10.0
    draw: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class MailSnapshot:
    """A mail when an attempt at it ends."""

    attempt: int  # number of the attempt, from 1
    counted: int  # counted attempts before this one
    on_uncertain: str
    in_doubt: bool  # an earlier attempt ended `unknown`
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to write. `due_in_seconds` is None when the mail leaves the queue."""

    state: MailState
    kind: str
    verdict: Verdict
    reason: str
    due_in_seconds: float | None = None


def decide_next(
    mail: MailSnapshot,
    verdict: Verdict,
    now: datetime,
    policy: RetryPolicy,
    *,
    worker_lost: bool = False,
    another_gateway: bool = False,
) -> Settlement:
    """What follows from `verdict`.

    `worker_lost`: the lease ran out long ago, so a resend need not wait again. `another_gateway`: one that has not
    tried this mail is left.
    """
    match verdict.outcome:
        case Outcome.ACCEPTED:
            settlement = Settlement(MailState.SENT, "mail.sent", verdict, verdict.reason)
        case Outcome.REFUSED:
            settlement = _give_up(mail, verdict, verdict.reason)
        case Outcome.TRY_LATER:
            wait = _wait(mail, now, policy)
            settlement = (
                _give_up(mail, verdict, f"{verdict.reason}; not retried: the mail expires first")
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
            patient = verdict.refuses_everyone and not another_gateway
            wait = _refused_wait(mail, now, policy) if patient else _fault_wait(mail, policy)
            settlement = Settlement(state, "mail.requeued", verdict, verdict.reason, wait)
    return settlement


def _give_up(mail: MailSnapshot, verdict: Verdict, reason: str) -> Settlement:
    if mail.in_doubt:
        reason = f"{reason}; an earlier attempt ended unknown"
        return Settlement(MailState.UNCERTAIN, "mail.uncertain", verdict, reason)
    return Settlement(MailState.FAILED, "mail.failed", verdict, reason)


def _wait(mail: MailSnapshot, now: datetime, policy: RetryPolicy) -> float | None:
    """Seconds until the next try, moved up to just before expiry where the jitter allows it; None: no more tries."""
    bound = min(policy.cap_seconds, policy.base_seconds * 2 ** min(mail.counted, 30))
    wait = equal_jitter(
        mail.counted + 1, base_seconds=policy.base_seconds, cap_seconds=policy.cap_seconds, draw=policy.draw
    )
    left = (mail.expires_at - now - timedelta(seconds=policy.last_chance_seconds)).total_seconds()
    if wait <= left:
        return wait
    return left if left >= bound / 2 else None


def _fault_wait(mail: MailSnapshot, policy: RetryPolicy) -> float:
    """0 at first, because the breaker does the waiting; then see `RetryPolicy.faults_at_once`."""
    faults = mail.attempt - mail.counted
    if faults <= policy.faults_at_once:
        return 0.0
    return float(min(policy.fault_cap_seconds, 0.25 * 2 ** min(faults - policy.faults_at_once, 30)))


def _refused_wait(mail: MailSnapshot, now: datetime, policy: RetryPolicy) -> float:
    """As after a "try later", by the number of faults, and always before expiry.

    At once would let the mails that are refused take every probe of the breaker, ahead of one that would be accepted.
    """
    wait = equal_jitter(
        mail.attempt - mail.counted, base_seconds=policy.base_seconds, cap_seconds=policy.cap_seconds, draw=policy.draw
    )
    left = (mail.expires_at - now - timedelta(seconds=policy.last_chance_seconds)).total_seconds()
    return max(0.0, min(wait, left))
