"""Postmark: the secret is in the webhook's URL or headers, one event a call.

https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..bounces.notice import Kind, kept
from .event import ECHOED_NAME, IGNORED, Event, Reading, code_in, is_dead, mail_ids_of, read_each, status_in
from .payload import at_path, entries_of, needed, parse, text_at
from .shared_secret import verify_shared_secret
from .source import Headers, Source

# The types of a bounce that are none: the mail arrived, or Postmark goes on trying. Every other type is a failure.
_NO_FAILURE = {
    "Transient": Kind.DELAYED,
    "DnsError": Kind.DELAYED,
    "SpamComplaint": Kind.COMPLAINT,
    "AutoResponder": Kind.OTHER,
    "AddressChange": Kind.OTHER,
    "ChallengeVerification": Kind.OTHER,
    "OpenRelayTest": Kind.OTHER,
    "Subscribe": Kind.OTHER,
    "Unsubscribe": Kind.OTHER,
}
_DEAD = frozenset(["HardBounce", "BadEmailAddress"])
_NOT_TRIED = frozenset(["ManuallyDeactivated", "SMTPApiError", "TemplateRenderingFailed", "InboundError"])


def source(secrets: Sequence[str]) -> Source:
    async def verify(headers: Headers, _raw: bytes, _now: datetime) -> None:
        verify_shared_secret(headers, secrets)

    return Source("postmark", verify, read)


def read(raw: bytes) -> list[Reading]:
    return read_each(entries_of(parse(raw)), _read)


def _read(entry: dict[str, Any]) -> Reading:
    match needed(entry, "RecordType"):
        case "Bounce" | "SpamComplaint" as record:
            return _bounce(entry, record)
        case "Delivery":
            return _delivery(entry)
        case _:
            return IGNORED


def _bounce(entry: dict[str, Any], record: str) -> Reading:
    kind_of_bounce = text_at(entry, "Type") or record
    kind = _NO_FAILURE.get(kind_of_bounce, Kind.FAILED)
    if kind is Kind.OTHER:
        return IGNORED
    details = text_at(entry, "Details")
    status = status_in(details)
    failed = kind is Kind.FAILED
    return Event(
        kind,
        f"bounce {needed(entry, 'ID')}",
        mail_ids_of(_metadata(entry)),
        status=status,
        code=code_in(details),
        diagnostic=kept(details),
        suppresses=kind is Kind.COMPLAINT or (failed and is_dead(status, by_class=kind_of_bounce in _DEAD)),
        was_tried=kind_of_bounce not in _NOT_TRIED,
    )


def _delivery(entry: dict[str, Any]) -> Reading:
    event_id = f"delivery {needed(entry, 'MessageID')} {text_at(entry, 'Recipient')} {text_at(entry, 'DeliveredAt')}"
    details = text_at(entry, "Details")
    return Event(
        Kind.DELIVERED,
        event_id,
        mail_ids_of(_metadata(entry)),
        status=status_in(details),
        code=code_in(details),
        diagnostic=kept(details),
    )


def _metadata(entry: dict[str, Any]) -> list[str]:
    """Postmark takes the name from a header, which has no case."""
    metadata = at_path(entry, "Metadata")
    items = metadata.items() if isinstance(metadata, dict) else []
    return [text for name, text in items if name.lower() == ECHOED_NAME and isinstance(text, str)]
