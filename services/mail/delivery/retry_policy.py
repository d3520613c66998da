"""The decision what follows an attempt. Pure: no I/O, no clock."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.worker.backoff import equal_jitter

from .deduplication import KeyUse
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
    # Before a gateway that deduplicates is asked again: enough for it to finish with the mail whose reply was lost.
    ask_seconds: float = 5.0
    draw: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class MailSnapshot:
    """A mail when an attempt at it ends."""

    attempt: int  # number of the attempt, from 1
    counted: int  # counted attempts before this one
    on_uncertain: str
    in_doubt: bool  # an earlier attempt ended `unknown`
    expires_at: datetime
    # The gateway that is being asked what became of an earlier attempt.
    question: KeyUse | None = None

    @property
    def retried_until(self) -> datetime:
        """A mail of policy `hold` is not sent again once its gateway may have forgotten it."""
        if self.question is None or self.on_uncertain == "resend":
            return self.expires_at
        return min(self.question.ask_until, self.expires_at)


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
    key_use: KeyUse | None = None,
) -> Settlement:
    """What follows from `verdict`.

    `worker_lost`: the lease ran out long ago, so a resend need not wait again. `another_gateway`: one that has not
    tried this mail is left. `key_use`: of an attempt that may have left for a gateway that deduplicates.
    """
    match verdict.outcome:
        case Outcome.ACCEPTED:
            settlement = Settlement(MailState.SENT, "mail.sent", verdict, verdict.reason)
        case Outcome.REFUSED:
            settlement = _give_up(mail, verdict, verdict.reason)
        case Outcome.TRY_LATER:
            wait = _wait(mail, now, policy)
            settlement = (
                _give_up(mail, verdict, f"{verdict.reason}; not retried: {_what_ends(mail)} first")
                if wait is None
                else Settlement(MailState.DEFERRED, "mail.deferred", verdict, _with_question(mail, verdict), wait)
            )
        case Outcome.UNKNOWN:
            settlement = _unknown(mail, verdict, now, policy, key_use, worker_lost=worker_lost)
        case Outcome.GATEWAY_FAULT:
            state = MailState.DEFERRED if mail.counted else MailState.QUEUED
            patient = verdict.refuses_everyone and not another_gateway
            wait = _refused_wait(mail, now, policy) if patient else _fault_wait(mail, policy)
            settlement = Settlement(state, "mail.requeued", verdict, _with_question(mail, verdict), wait)
    return settlement


def _unknown(
    mail: MailSnapshot, verdict: Verdict, now: datetime, policy: RetryPolicy, use: KeyUse | None, *, worker_lost: bool
) -> Settlement:
    """Asked again where the gateway deduplicates and for as long as it does; else as the mail's policy says."""
    if use is not None:
        wait = 0.0 if worker_lost else _ask_wait(use, mail, now, policy)
        if wait is not None and now < min(use.ask_until, mail.expires_at):
            reason = f"{verdict.reason}; asked again at {use.gateway}"
            return Settlement(MailState.DEFERRED, "mail.deferred", verdict, reason, wait)
    reason = verdict.reason if use is None else f"{verdict.reason}; too late to ask {use.gateway} again"
    wait = 0.0 if worker_lost else _wait(mail, now, policy)
    if mail.on_uncertain != "resend" or wait is None or mail.expires_at <= now:
        return Settlement(MailState.UNCERTAIN, "mail.uncertain", verdict, reason)
    return Settlement(MailState.QUEUED, "mail.requeued", verdict, reason, wait)


def _with_question(mail: MailSnapshot, verdict: Verdict) -> str:
    if mail.question is None:
        return verdict.reason
    return f"{verdict.reason}; an earlier attempt is asked again at {mail.question.gateway}"


def _what_ends(mail: MailSnapshot) -> str:
    return "the mail expires" if mail.retried_until == mail.expires_at else "the time to ask again ends"


def _give_up(mail: MailSnapshot, verdict: Verdict, reason: str) -> Settlement:
    if mail.in_doubt:
        reason = f"{reason}; an earlier attempt ended unknown"
        return Settlement(MailState.UNCERTAIN, "mail.uncertain", verdict, reason)
    return Settlement(MailState.FAILED, "mail.failed", verdict, reason)


def _wait(mail: MailSnapshot, now: datetime, policy: RetryPolicy) -> float | None:
    """Seconds until the next try, moved up to just before expiry where the jitter allows it; None: no more tries."""
    return _wait_until(mail.retried_until, mail.counted, policy.base_seconds, now, policy)


def _ask_wait(use: KeyUse, mail: MailSnapshot, now: datetime, policy: RetryPolicy) -> float | None:
    """The same for asking again: soon at first, because a lost connection is usually back soon."""
    base_seconds = min(policy.ask_seconds, policy.base_seconds)
    return _wait_until(min(use.ask_until, mail.expires_at), use.unknown, base_seconds, now, policy)


def _wait_until(end: datetime, tries: int, base_seconds: float, now: datetime, policy: RetryPolicy) -> float | None:
    bound = min(policy.cap_seconds, base_seconds * 2 ** min(tries, 30))
    wait = equal_jitter(tries + 1, base_seconds=base_seconds, cap_seconds=policy.cap_seconds, draw=policy.draw)
    left = (end - now - timedelta(seconds=policy.last_chance_seconds)).total_seconds()
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
    left = (mail.retried_until - now - timedelta(seconds=policy.last_chance_seconds)).total_seconds()
    return max(0.0, min(wait, left))
