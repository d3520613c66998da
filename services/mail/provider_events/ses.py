"""Amazon SES, whose events and notifications come through an SNS topic, one a call.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.contract.problems import MalformedRequest

from ..bounces.notice import Kind, kept
from ..errors import SendAgain, SignatureInvalid
from . import sns
from .event import (
    ECHOED_NAME,
    IGNORED,
    Event,
    Reading,
    Subscription,
    Unreadable,
    bracketed,
    code_in,
    is_dead,
    mail_ids_of,
    read_each,
    status_in,
)
from .payload import at_path, list_at, named, needed, parse, text_at
from .sns_certificates import CertificateStore, Fetch, FetchError
from .source import Headers, Source

_DEAD = frozenset(["General", "NoEmail", "Suppressed", "OnAccountSuppressionList"])
_NOT_TRIED = frozenset(["Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"])
# RFC 5965: reports that are no complaint.
_NO_COMPLAINT = frozenset(["not-spam", "auth-failure"])


def source(topics: Sequence[str], fetch: Fetch) -> Source:
    certificates = CertificateStore(fetch)

    async def verify(_headers: Headers, raw: bytes, now: datetime) -> None:
        try:
            content = parse(raw)
        except MalformedRequest:
            raise SignatureInvalid("The body is not JSON, so it has no signature.") from None
        await sns.verify(content, frozenset(topics), certificates, now)

    async def confirm(url: str) -> None:
        try:
            await fetch(url)
        except FetchError as error:
            raise SendAgain(f"The subscription could not be confirmed: {error}.") from None

    return Source("ses", verify, read, confirm)


def read(raw: bytes) -> list[Reading]:
    """Read a verified message. A confirmation whose URL leads elsewhere is not to be fetched."""
    message = sns.message_of(parse(raw))
    if message.kind == sns.CONFIRMATION:
        if not sns.is_subscribe_url(message.subscribe_url):
            return [Unreadable("SubscribeURL does not lead to Amazon SNS")]
        return [Subscription(message.subscribe_url)]
    if message.kind != sns.NOTIFICATION:
        return [IGNORED]
    try:
        content = json.loads(message.message)
    except (ValueError, RecursionError):
        return [IGNORED]  # SES says in plain words that it may publish to the topic
    return read_each([content], _read)


def _read(content: dict[str, Any]) -> Reading:
    # Event publishing and feedback notifications differ in this name only.
    match text_at(content, "eventType") or needed(content, "notificationType"):
        case "Bounce":
            return _bounce(content)
        case "Complaint":
            return _complaint(content)
        case "Delivery":
            return _delivery(content)
        case "DeliveryDelay":
            return _delay(content)
        case "Reject" | "Rendering Failure" as name:
            return _refusal(content, name)
        case _:
            return IGNORED


def _bounce(content: dict[str, Any]) -> Reading:
    bounce = at_path(content, "bounce")
    kind, sub_type = text_at(bounce, "bounceType"), text_at(bounce, "bounceSubType")
    recipient = _first(bounce, "bouncedRecipients")
    status, reply = _status(recipient)
    if kind == "Transient" and sub_type == "General" and not (status or reply or text_at(recipient, "action")):
        return IGNORED  # an automatic answer, as SES documents: the mail arrived
    dead = kind == "Permanent" and sub_type in _DEAD
    return Event(
        Kind.FAILED,
        f"bounce {needed(bounce, 'feedbackId')}",
        *_candidates(content),
        status=status,
        code=code_in(reply),
        diagnostic=kept(reply),
        suppresses=is_dead(status, by_class=dead),
        was_tried=sub_type not in _NOT_TRIED,
    )


def _complaint(content: dict[str, Any]) -> Reading:
    kind = text_at(content, "complaint", "complaintFeedbackType")
    if kind in _NO_COMPLAINT:
        return IGNORED
    event_id = f"complaint {needed(content, 'complaint', 'feedbackId')}"
    return Event(Kind.COMPLAINT, event_id, *_candidates(content), status=kept(kind[:40]), suppresses=True)


def _delivery(content: dict[str, Any]) -> Reading:
    reply = text_at(content, "delivery", "smtpResponse")
    return Event(
        Kind.DELIVERED,
        _event_id(content, "delivery"),
        *_candidates(content),
        status=status_in(reply),
        code=code_in(reply),
        diagnostic=kept(reply),
    )


def _delay(content: dict[str, Any]) -> Reading:
    status, reply = _status(_first(at_path(content, "deliveryDelay"), "delayedRecipients"))
    return Event(
        Kind.DELAYED,
        _event_id(content, "deliveryDelay"),
        *_candidates(content),
        status=status,
        code=code_in(reply),
        diagnostic=kept(reply or text_at(content, "deliveryDelay", "delayType")),
    )


def _refusal(content: dict[str, Any], name: str) -> Reading:
    """SES took the mail and did not send it."""
    words = text_at(content, "reject", "reason") or text_at(content, "failure", "errorMessage")
    return Event(
        Kind.FAILED,
        f"{name} {needed(content, 'mail', 'messageId')}",
        *_candidates(content),
        diagnostic=kept(words),
        was_tried=False,
    )


def _event_id(content: dict[str, Any], name: str) -> str:
    """The same for an event that comes both as a notification and by event publishing."""
    return f"{name} {needed(content, 'mail', 'messageId')} {text_at(content, name, 'timestamp')}"


def _first(content: Any, name: str) -> Any:
    """A mail has one recipient."""
    return next(iter(list_at(content, name)), {})


def _status(recipient: Any) -> tuple[str | None, str]:
    reply = text_at(recipient, "diagnosticCode")
    return status_in(text_at(recipient, "status")) or status_in(reply), reply


def _candidates(content: dict[str, Any]) -> tuple[Any, Any]:
    """SES puts its own Message-ID into a mail, and repeats ours among the original headers."""
    headers = list_at(content, "mail", "headers")
    message_ids = bracketed([*named(headers, "message-id"), text_at(content, "mail", "commonHeaders", "messageId")])
    tags = [tag for tag in list_at(content, "mail", "tags", ECHOED_NAME) if isinstance(tag, str)]
    return mail_ids_of([*tags, *named(headers, "x-counterfoil-id")], message_ids), message_ids
