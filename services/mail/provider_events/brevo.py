"""Brevo: the secret is in the webhook's URL or a bearer token; one event a call, or a batch.

https://developers.brevo.com/docs/transactional-webhooks
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..bounces.notice import Kind, kept
from .event import IGNORED, Event, Reading, bracketed, code_in, ids_in, is_dead, mail_ids_of, read_each, status_in
from .payload import entries_of, needed, parse, text_at
from .shared_secret import verify_shared_secret
from .source import Headers, Source

_KINDS = {
    "delivered": Kind.DELIVERED,
    "deferred": Kind.DELAYED,
    "hard_bounce": Kind.FAILED,
    "soft_bounce": Kind.FAILED,
    "invalid_email": Kind.FAILED,
    "blocked": Kind.FAILED,
    "error": Kind.FAILED,
    "spam": Kind.COMPLAINT,
    "complaint": Kind.COMPLAINT,
}
_DEAD = frozenset(["hard_bounce", "invalid_email"])
_NOT_TRIED = frozenset(["blocked", "invalid_email", "error"])
# There is no ID of an event; `id` is that of the webhook, and two webhooks may report the same event.
_IDENTITY = ("event", "message-id", "email", "ts_event", "ts_epoch", "reason")


def source(secrets: Sequence[str]) -> Source:
    async def verify(headers: Headers, _raw: bytes, _now: datetime) -> None:
        verify_shared_secret(headers, secrets)

    # Brevo gives up a call that was answered with 5xx, as it does after 4xx; only 429 makes it try again.
    return Source("brevo", verify, read, again_status=429)


def read(raw: bytes) -> list[Reading]:
    return read_each(entries_of(parse(raw)), _read)


def _read(entry: dict[str, Any]) -> Reading:
    event = needed(entry, "event")
    kind = _KINDS.get(event)
    if kind is None:
        return IGNORED
    message_ids = bracketed([text_at(entry, "message-id")])
    reason = text_at(entry, "reason")
    status = status_in(reason)
    return Event(
        kind,
        "\0".join(text_at(entry, name) for name in _IDENTITY),
        mail_ids_of(ids_in(text_at(entry, "X-Mailin-custom")), message_ids),
        message_ids,
        status=status,
        code=code_in(reason),
        diagnostic=kept(reason),
        suppresses=kind is Kind.COMPLAINT or (kind is Kind.FAILED and is_dead(status, by_class=event in _DEAD)),
        was_tried=event not in _NOT_TRIED,
    )
