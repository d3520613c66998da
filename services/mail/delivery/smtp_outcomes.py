"""What became of one attempt, read from the words of a gateway: pure, no connection comes in here.

The table is section 6 of the design. `classify` reads one reply; what is no reply (a drop, a timeout) is `broken_off`.
"""

import enum
import re
from dataclasses import dataclass

# PartitionRetention of a reply: enough for every provider's link and ticket number, bounded for a gateway that never stops talking.
REPLY_MAX_CHARACTERS = 2000

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\d)")
# RFC 3463: no such mailbox, no such host, recipient has a null MX, mailbox disabled. Policy refusals (5.7.x) are about
# us or the message and say nothing about the address.
_SUPPRESSING = frozenset(["5.1.1", "5.1.2", "5.1.10", "5.2.1"])
# RFC 4954 section 6 and RFC 3207 section 4: log in, or start TLS, first. The settings are wrong, not the mail.
_WANTS_LOGIN = frozenset([530, 534, 535, 538])
_GOING_AWAY = 421


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    TRY_LATER = "try_later"
    UNKNOWN = "unknown"
    GATEWAY_FAULT = "gateway_fault"

    @property
    def counted(self) -> bool:
        """Whether it was a verdict on the message: an outage downstream costs no attempt (P9)."""
        return self is not Outcome.GATEWAY_FAULT


class Step(enum.StrEnum):
    """How far the conversation had come; `BODY` is everything after the first byte of the body."""

    CONNECT = "connect"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is ours and goes into history, so it never repeats the gateway; `reply` is the gateway's own words."""

    outcome: Outcome
    reason: str
    code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    # About the recipient's address for good.
    suppresses: bool = False
    # False where the fault was not the gateway's, so that its breaker must not hear it.
    blames_gateway: bool = True


def suppresses_address(enhanced_code: str | None) -> bool:
    """Whether a permanent refusal with this code is about the recipient's address for good."""
    return enhanced_code in _SUPPRESSING


def accepts(step: Step, code: int) -> bool:
    """Whether the conversation goes on, or has ended well. Only the first digit counts (RFC 5321 section 4.2.1)."""
    return code // 100 == (3 if step is Step.DATA else 2)


def classify(step: Step, code: int, text: str) -> Verdict:
    """The verdict in a reply. `code` is -1, or anything, for words that are no SMTP reply at all."""
    said = f"{code} {text}" if code > 0 else text
    reply = said.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")[:REPLY_MAX_CHARACTERS]
    match = _ENHANCED.match(text)
    enhanced = match.group() if match else None
    outcome, reason = _read(step, code)
    return Verdict(
        outcome,
        reason,
        code if 200 <= code <= 599 else None,  # noqa: PLR2004 - the codes that RFC 5321 knows
        enhanced,
        reply,
        suppresses=outcome is Outcome.REFUSED and step is not Step.MAIL and suppresses_address(enhanced),
    )


def _read(step: Step, code: int) -> tuple[Outcome, str]:
    where = "after the dot" if step is Step.BODY else f"at {step}"
    if accepts(step, code) and step is Step.BODY:
        return Outcome.ACCEPTED, "accepted"
    if code // 100 not in {4, 5}:
        return broken_off(step, f"no SMTP reply that fits {where}")
    if step is Step.CONNECT or (code == _GOING_AWAY and step is not Step.BODY):
        return Outcome.GATEWAY_FAULT, f"turned away with {code} {where}"
    if code in _WANTS_LOGIN and step is Step.MAIL:
        return Outcome.GATEWAY_FAULT, f"the gateway wants a login or TLS ({code} {where})"
    if code // 100 == 4:  # noqa: PLR2004 - 4yz, RFC 5321 section 4.2.1
        return Outcome.TRY_LATER, f"put off with {code} {where}"
    return Outcome.REFUSED, f"refused with {code} {where}"


def broken_off(step: Step, what: str) -> tuple[Outcome, str]:
    """Outcome and reason when there was no answer: nobody knows once the body has started to leave (P5)."""
    if step is Step.BODY:
        return Outcome.UNKNOWN, what
    return Outcome.GATEWAY_FAULT, what


def interrupted(step: Step, what: str) -> Verdict:
    """The verdict on a drop, a reset or a timeout at `step`."""
    outcome, reason = broken_off(step, f"{what} {'after the body had started' if step is Step.BODY else f'at {step}'}")
    return Verdict(outcome, reason)


def own_fault(what: str) -> Verdict:
    """Nothing has left, and no gateway is to blame: the mail goes back as it was."""
    return Verdict(Outcome.GATEWAY_FAULT, what, blames_gateway=False)


def unsendable(why: str, details: str | None = None) -> Verdict:
    """No gateway will ever take this mail as it is. `details` may be personal: they are kept where replies are."""
    return Verdict(Outcome.REFUSED, why, reply=details)
