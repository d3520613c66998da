"""Mailgun: an HMAC over a time and a token, one event a call.

The signature does not cover the body. So a token is remembered with the body that it came with, and refused with
another. https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

import hmac
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from shared.contract.problems import MalformedRequest

from ..bounces.notice import Kind, kept
from ..errors import SignatureInvalid
from .event import (
    ECHOED_NAME,
    IGNORED,
    Event,
    Reading,
    UnreadableError,
    bracketed,
    code_in,
    is_dead,
    mail_ids_of,
    read_each,
    status_in,
)
from .payload import at_path, entries_of, needed, parse, text_at
from .source import Headers, Once, Source, check_time

# Mailgun repeats a call for 8 hours, and its documentation does not say that it signs it anew.
TOLERANCE = timedelta(hours=9)
_SECONDS = re.compile(r"[0-9]{1,11}")
_TOKEN = re.compile(r"[!-~]{1,200}")
_KINDS = {"delivered": Kind.DELIVERED, "complained": Kind.COMPLAINT, "rejected": Kind.FAILED}
# Mailgun did not try: the address is on one of its own lists, or it refused the content.
_NOT_TRIED = frozenset(["suppress-bounce", "suppress-complaint", "suppress-unsubscribe"])


def source(secrets: Sequence[str]) -> Source:
    async def verify(_headers: Headers, raw: bytes, now: datetime) -> Once:
        return verify_signature(raw, secrets, now)

    return Source("mailgun", verify, read)


def verify_signature(raw: bytes, secrets: Sequence[str], now: datetime) -> Once:
    """The token, which must not come with another body.

    Raises:
        SignatureInvalid: no key of `secrets` signed the body's time and token, or the time is not now.
    """
    try:
        content = parse(raw)
    except MalformedRequest:
        raise SignatureInvalid("The body is not JSON, so it has no signature.") from None
    timestamp = text_at(content, "signature", "timestamp")
    token = text_at(content, "signature", "token")
    # The account signs for its subaccounts beside them.
    offered = [text_at(content, "signature", name) for name in ("signature", "parent-signature")]
    if not _SECONDS.fullmatch(timestamp) or not _TOKEN.fullmatch(token):
        raise SignatureInvalid("The body has no `signature` with a `timestamp` and a `token`.")
    expected = [hmac.new(secret.encode(), (timestamp + token).encode(), sha256).hexdigest() for secret in secrets]
    matches = [
        hmac.compare_digest(text.encode("utf-8", "replace"), signature.encode())
        for text in offered
        for signature in expected
    ]
    if not any(matches):
        raise SignatureInvalid("The signature is wrong.")
    check_time(datetime.fromtimestamp(int(timestamp), UTC), now, tolerance=TOLERANCE)
    body = json.dumps(at_path(content, "event-data"), sort_keys=True)
    return Once(sha256(f"mailgun {token}".encode()).digest(), sha256(body.encode()).digest())


def read(raw: bytes) -> list[Reading]:
    return read_each(entries_of(parse(raw)), _read)


def _read(entry: dict[str, Any]) -> Reading:
    event = at_path(entry, "event-data")
    if not isinstance(event, dict):
        raise UnreadableError("event-data is missing")
    kind = _kind(event)
    if kind is None:
        return IGNORED
    message_ids = bracketed([text_at(event, "message", "headers", "message-id")])
    reply = text_at(event, "delivery-status", "message") or text_at(event, "delivery-status", "description")
    status = status_in(text_at(event, "delivery-status", "enhanced-code")) or status_in(reply)
    reason = text_at(event, "reason")
    return Event(
        kind,
        # The ID alone is promised to be unique only within a day.
        f"{needed(event, 'id')} {text_at(event, 'timestamp')}",
        mail_ids_of([text_at(event, "user-variables", ECHOED_NAME)], message_ids),
        message_ids,
        status=status,
        code=code_in(text_at(event, "delivery-status", "code")) or code_in(reply),
        diagnostic=kept(reply or text_at(event, "reject", "reason")),
        suppresses=kind is Kind.COMPLAINT
        or (kind is Kind.FAILED and is_dead(status, by_class=reason == "suppress-bounce")),
        was_tried=reason not in _NOT_TRIED and text_at(event, "event") != "rejected",
    )


def _kind(event: dict[str, Any]) -> Kind | None:
    name = needed(event, "event")
    if name == "failed":
        return Kind.DELAYED if text_at(event, "severity") == "temporary" else Kind.FAILED
    return _KINDS.get(name)
