"""Twilio SendGrid: an ECDSA signature over the time and the body, many events a call.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..bounces.notice import Kind, kept
from ..errors import SignatureInvalid
from .event import ECHOED_NAME, IGNORED, Event, Reading, bracketed, code_in, is_dead, mail_ids_of, read_each, status_in
from .payload import entries_of, needed, parse, text_at
from .source import Headers, Source, check_time

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
# SendGrid repeats a call for a day, and its documentation does not say that it signs it anew.
TOLERANCE = timedelta(hours=25)
_SECONDS = re.compile(r"[0-9]{1,11}")
_KINDS = {
    "delivered": Kind.DELIVERED,
    "deferred": Kind.DELAYED,
    "bounce": Kind.FAILED,
    "dropped": Kind.FAILED,
    "spamreport": Kind.COMPLAINT,
}
# Why SendGrid drops a mail, and how it classifies a bounce, when the address is to blame.
_DEAD = frozenset(["bounced address", "invalid", "invalid address"])


def source(secrets: Sequence[str]) -> Source:
    """Raises ValueError when a secret is no public key."""
    keys = [_public_key(secret) for secret in secrets]

    async def verify(headers: Headers, raw: bytes, now: datetime) -> None:
        verify_signature(headers, raw, keys, now)

    return Source("sendgrid", verify, read)


def verify_signature(headers: Headers, raw: bytes, keys: "Sequence[EllipticCurvePublicKey]", now: datetime) -> None:
    """Raises SignatureInvalid unless one of `keys` signed the body at a time that is not long ago."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - takes memory: only when it is configured
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    timestamp = headers.get(TIMESTAMP, "")
    if SIGNATURE not in headers or not _SECONDS.fullmatch(timestamp):
        raise SignatureInvalid("The call has no signature: turn on the Signed Event Webhook.")
    for key in keys:
        try:
            key.verify(b64decode(headers[SIGNATURE], validate=True), timestamp.encode() + raw, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            continue
        check_time(datetime.fromtimestamp(int(timestamp), UTC), now, tolerance=TOLERANCE)
        return
    raise SignatureInvalid("The signature is wrong.")


def _public_key(text: str) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    key = load_der_public_key(b64decode(text))
    assert isinstance(key, EllipticCurvePublicKey)  # the settings were checked
    return key


def read(raw: bytes) -> list[Reading]:
    return read_each(entries_of(parse(raw)), _read)


def _read(entry: dict[str, Any]) -> Reading:
    event = needed(entry, "event")
    kind = _KINDS.get(event)
    if kind is None:
        return IGNORED
    message_ids = bracketed([text_at(entry, "smtp-id")])
    reply = text_at(entry, "response") or text_at(entry, "reason")
    status = status_in(text_at(entry, "status")) or status_in(reply)
    why = {text_at(entry, name).lower() for name in ("reason", "bounce_classification")}
    return Event(
        kind,
        needed(entry, "sg_event_id"),
        mail_ids_of([text_at(entry, ECHOED_NAME)], message_ids),
        message_ids,
        status=status,
        code=code_in(reply),
        diagnostic=kept(reply),
        suppresses=kind is Kind.COMPLAINT or (kind is Kind.FAILED and is_dead(status, by_class=bool(why & _DEAD))),
        was_tried=event != "dropped",
    )
