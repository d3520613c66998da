"""How one attempt ended, read from a gateway's reply. Pure: this module knows no connection.

The table is section 6 of the design. `classify` reads a reply; a drop or a timeout is `interrupted`.
"""

import enum
import re
from dataclasses import dataclass

# What is stored of a reply: enough for every provider's link and ticket number, bounded for an endless reply.
REPLY_MAX_CHARACTERS = 2000

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\d)")
# RFC 3463: no such mailbox, no such host, recipient has a null MX, mailbox disabled. Policy refusals (5.7.x)
# are about the sender or the message, not about the address.
_SUPPRESSING = frozenset(["5.1.1", "5.1.2", "5.1.10", "5.2.1"])
# RFC 4954 section 6 and RFC 3207 section 4: log in or start TLS first. The settings are wrong, not the mail.
_LOGIN_OR_TLS_REQUIRED = frozenset([530, 534, 535, 538])
_SERVICE_CLOSING = 421
# Where to look for the words below: an endless reply must not cost endless time.
_READ_CHARACTERS = 500
# Words by which gateways say that a client has too many connections. "Too many errors on this connection" has none.
_TOO_MANY_CONNECTIONS = re.compile(
    r"\b(too many|maximum|concurrent|simultaneous|limit|exceed\w*)\b.*\b(connections|sessions)\b"
    r"|\b(connections|sessions)\b.*\b(too many|maximum|limit|exceed\w*)\b"
    r"|\b(concurrent|simultaneous) (connection|session)\b|\b(connection|session) (limit|count)\b",
    re.IGNORECASE | re.DOTALL,
)


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
    """How far the conversation got; `BODY` is everything after the first byte of the body."""

    CONNECT = "connect"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "body"


# The steps at which a gateway refuses a connection, before it has heard of a recipient.
_LETTING_IN = frozenset([Step.CONNECT, Step.MAIL])


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is our own text and goes into history, so it never quotes the gateway; `reply` is the gateway's text."""

    outcome: Outcome
    reason: str
    code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    # The refusal is about the recipient's address, for good.
    suppresses: bool = False
    # The recipient was refused, not the sender or the content: see `refusal_guard`.
    refuses_recipient: bool = False
    # The gateway refuses everyone, so a retry at once would end the same way.
    refuses_everyone: bool = False
    # False when the fault was not the gateway's, so its breaker must not count it.
    blames_gateway: bool = True
    # The gateway did not let this connection in. While others are open, that is about their number (ADR 0023).
    turned_away: bool = False
    # False when the mail never reached a gateway: then it leaves no attempt.
    offered: bool = True


def suppresses_address(enhanced_code: str | None) -> bool:
    """Whether a permanent refusal with this code is about the recipient's address for good."""
    return enhanced_code in _SUPPRESSING


def accepts(step: Step, code: int) -> bool:
    """Whether the conversation goes on or has ended well. Only the first digit counts (RFC 5321 section 4.2.1)."""
    return code // 100 == (3 if step is Step.DATA else 2)


def classify(step: Step, code: int, text: str) -> Verdict:
    """The verdict in a reply. `code` may be any number; -1 stands for text that is no SMTP reply."""
    full = f"{code} {text}" if code > 0 else text
    reply = full.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")[:REPLY_MAX_CHARACTERS]
    match = _ENHANCED.match(text)
    enhanced = match.group() if match else None
    outcome, reason = _read(step, code)
    too_many = _has_too_many_connections(step, code, text)
    if too_many:
        outcome, reason = Outcome.GATEWAY_FAULT, f"too many connections ({code} at {step})"
    suppresses = outcome is Outcome.REFUSED and step is not Step.MAIL and suppresses_address(enhanced)
    return Verdict(
        outcome,
        reason,
        code if 200 <= code <= 599 else None,  # noqa: PLR2004 - the codes of RFC 5321
        enhanced,
        reply,
        suppresses=suppresses,
        refuses_recipient=suppresses or (outcome is Outcome.REFUSED and step is Step.RCPT),
        turned_away=too_many or (code == _SERVICE_CLOSING and step is Step.CONNECT),
        offered=not too_many,
    )


def _has_too_many_connections(step: Step, code: int, text: str) -> bool:
    """Whether the gateway says that it lets in no more connections of ours. It says nothing about the mail."""
    is_temporary = code // 100 == 4  # noqa: PLR2004 - 4yz, RFC 5321 section 4.2.1
    return is_temporary and step in _LETTING_IN and bool(_TOO_MANY_CONNECTIONS.search(text[:_READ_CHARACTERS]))


def _read(step: Step, code: int) -> tuple[Outcome, str]:
    where = "after the dot" if step is Step.BODY else f"at {step}"
    if accepts(step, code) and step is Step.BODY:
        return Outcome.ACCEPTED, "accepted"
    if code // 100 not in {4, 5}:
        return _without_reply(step, f"no valid SMTP reply {where}")
    if step is Step.CONNECT or (code == _SERVICE_CLOSING and step is not Step.BODY):
        return Outcome.GATEWAY_FAULT, f"gateway not available ({code} {where})"
    if code in _LOGIN_OR_TLS_REQUIRED and step is Step.MAIL:
        return Outcome.GATEWAY_FAULT, f"the gateway requires a login or TLS ({code} {where})"
    if code // 100 == 4:  # noqa: PLR2004 - 4yz, RFC 5321 section 4.2.1
        return Outcome.TRY_LATER, f"deferred with {code} {where}"
    return Outcome.REFUSED, f"refused with {code} {where}"


def _without_reply(step: Step, what: str) -> tuple[Outcome, str]:
    """Outcome and reason without a reply: unknown once the body has started to leave (P5)."""
    if step is Step.BODY:
        return Outcome.UNKNOWN, what
    return Outcome.GATEWAY_FAULT, what


def interrupted(step: Step, what: str) -> Verdict:
    """The verdict on a drop, a reset or a timeout at `step`."""
    outcome, reason = _without_reply(
        step, f"{what} {'after the body had started' if step is Step.BODY else f'at {step}'}"
    )
    return Verdict(outcome, reason)


def own_fault(reason: str, *, offered: bool = True) -> Verdict:
    """Nothing has left and no gateway is to blame: the mail goes back to the queue unchanged."""
    return Verdict(Outcome.GATEWAY_FAULT, reason, blames_gateway=False, offered=offered)


def unsendable(reason: str, details: str | None = None) -> Verdict:
    """No gateway will ever accept this mail. `details` may be personal, so they are stored where replies are."""
    return Verdict(Outcome.REFUSED, reason, reply=details)
