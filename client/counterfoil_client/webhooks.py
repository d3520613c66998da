"""Verifies webhooks of both services as Standard Webhooks says (standardwebhooks.com), with the standard library."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import UnverifiedWebhook

_PREFIX = "whsec_"
_VERSION = "v1,"


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is the same whenever the event comes again: use it to handle each event once."""

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]


class Webhook:
    """Give the secret that the service showed, or several while you change them: one that fits is enough."""

    def __init__(
        self, *secrets: str, tolerance_seconds: float = 300.0, wall_clock: Callable[[], float] = time.time
    ) -> None:
        if not secrets:
            raise ValueError("A webhook needs a secret")
        self._keys = [_key(secret) for secret in secrets]
        self._tolerance_seconds = tolerance_seconds
        self._wall_clock = wall_clock

    def verify(self, headers: Mapping[str, str], body: bytes) -> Event:
        """The event. `body` are the bytes as received: JSON that was parsed and written again has another signature.

        Raises:
            UnverifiedWebhook: a header is missing, no signature fits, or it was signed too long ago or ahead.
        """
        given = {name.lower(): value for name, value in headers.items()}
        event_id, sent_at, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        if not (event_id and signatures and sent_at.isascii() and sent_at.isdecimal()):
            raise UnverifiedWebhook("A header of Standard Webhooks is missing or cannot be read")
        content = f"{event_id}.{sent_at}.".encode() + body
        expected = [hmac.digest(key, content, hashlib.sha256) for key in self._keys]
        if not _any_fits(_decoded(signatures), expected):
            raise UnverifiedWebhook("No signature fits the body and a secret")
        if abs(self._wall_clock() - int(sent_at)) > self._tolerance_seconds:
            raise UnverifiedWebhook("Signed too long ago, or ahead of this machine's clock")
        return _event(event_id, int(sent_at), body)


def _any_fits(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    # Every pair, so that the time says nothing of which one fits.
    return sum(hmac.compare_digest(one, other) for one in given for other in expected) > 0


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("A webhook secret is `whsec_` and base64") from None


def _decoded(signatures: str) -> list[bytes]:
    found = []
    for signature in signatures.split():
        if signature.startswith(_VERSION):
            try:
                found.append(base64.b64decode(signature.removeprefix(_VERSION), validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def _event(event_id: str, sent_at: int, body: bytes) -> Event:
    try:
        members = json.loads(body)
        occurred = members.get("timestamp")
        at = datetime.fromisoformat(occurred) if occurred else datetime.fromtimestamp(sent_at, UTC)
        return Event(event_id, str(members["type"]), at, members.get("data") or {})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UnverifiedWebhook("Signed, but no event") from None
