"""Resend, whose webhooks Svix sends: an HMAC over ID, time and body, as in Standard Webhooks; one event a call.

https://resend.com/docs/webhooks/verify-webhooks-requests
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..bounces.notice import Kind, kept
from ..errors import SignatureInvalid
from .event import ECHOED_NAME, IGNORED, Event, Reading, bracketed, code_in, is_dead, mail_ids_of, read_each, status_in
from .payload import at_path, entries_of, list_at, named, needed, parse, text_at
from .source import Headers, Source

_KINDS = {
    "email.delivered": Kind.DELIVERED,
    "email.delivery_delayed": Kind.DELAYED,
    "email.bounced": Kind.FAILED,
    "email.failed": Kind.FAILED,
    "email.suppressed": Kind.FAILED,
    "email.complained": Kind.COMPLAINT,
}
# Resend sends through Amazon SES and passes its classification on. `UnsubscribedRecipient` is about a list.
_DEAD = frozenset(["General", "NoEmail", "Suppressed", "OnAccountSuppressionList"])
_NOT_TRIED = frozenset(["email.failed", "email.suppressed"])
_SUPPRESSED = frozenset(["Suppressed", "OnAccountSuppressionList"])


def source(secrets: Sequence[str]) -> Source:
    async def verify(headers: Headers, raw: bytes, _now: datetime) -> None:
        verify_signature(headers, raw, secrets)

    return Source("resend", verify, read)


def verify_signature(headers: Headers, raw: bytes, secrets: Sequence[str]) -> None:
    """Raises SignatureInvalid unless one of the secrets signed the call within the last 5 minutes."""
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415 - only this provider has need of it

    names = ("id", "timestamp", "signature")
    standard = {f"webhook-{name}": headers.get(f"svix-{name}", "") for name in names}
    reason = "The signature is wrong."
    for secret in secrets:
        try:
            Webhook(secret).verify(raw, standard, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            if isinstance(error, WebhookVerificationError) and "timestamp" in str(error):
                reason = "The signed time is not within 5 minutes of ours."
            continue
        return
    raise SignatureInvalid(reason)


def read(raw: bytes) -> list[Reading]:
    return read_each(entries_of(parse(raw)), _read)


def _read(entry: dict[str, Any]) -> Reading:
    event = needed(entry, "type")
    kind = _KINDS.get(event)
    if kind is None:
        return IGNORED
    data = at_path(entry, "data")
    headers = list_at(data, "headers")
    message_ids = bracketed([*named(headers, "message-id"), text_at(data, "message_id")])
    echoed = [*named(headers, "x-counterfoil-id"), text_at(data, "tags", ECHOED_NAME)]
    bounce = at_path(data, "bounce") or at_path(data, "suppressed") or at_path(data, "failed")
    reply = _reply(bounce)
    status = status_in(reply)
    sub_type = text_at(bounce, "subType")
    dead = event == "email.suppressed" or (text_at(bounce, "type") == "Permanent" and sub_type in _DEAD)
    return Event(
        kind,
        # A copy that is sent again has the same: `created_at` is when the event happened.
        f"{event} {needed(data, 'email_id')} {text_at(entry, 'created_at')}",
        mail_ids_of(echoed, message_ids),
        message_ids,
        status=status,
        code=code_in(reply),
        diagnostic=kept(reply),
        suppresses=kind is Kind.COMPLAINT or (kind is Kind.FAILED and is_dead(status, by_class=dead)),
        was_tried=event not in _NOT_TRIED and sub_type not in _SUPPRESSED,
    )


def _reply(bounce: Any) -> str:
    """The server's own words, or else the provider's."""
    codes = list_at(bounce, "diagnosticCode")
    if codes and isinstance(codes[0], str):
        return codes[0]
    return text_at(bounce, "diagnosticCode") or text_at(bounce, "message") or text_at(bounce, "reason")
