"""One event as a subscriber gets it, and its signatures. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook

from ..contract.ids import UUID
from ..contract.json_text import dumps
from ..contract.key_ring import KeyRing
from ..db.pool import Record
from .secret import derive_secret


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is the `webhook-id`: the same at every retry and in a replay, with the same body.

    `data` holds IDs and codes, and nothing personal (ADR 0011).
    """

    id: UUID
    event: str
    at: datetime
    data: Mapping[str, Any]
    traceparent: str | None = None


def signed(
    message: Message, subscriber: Mapping[str, Any] | Record, ring: KeyRing, *, now: datetime
) -> tuple[dict[str, str], bytes]:
    """Headers and body. Both secrets sign for a day after a rotation, so that no event is missed.

    `subscriber` is a row of FIND_SUBSCRIBERS.

    Raises:
        UnknownSigningKeyError: the ring no longer has the key that the secret is derived from.
    """
    body = dumps({"type": message.event, "timestamp": message.at, "data": message.data})
    version = subscriber["secret_version"]
    secrets = [derive_secret(ring, subscriber["id"], version, subscriber["key_id"])]
    if subscriber["previous_key_id"]:
        secrets.append(derive_secret(ring, subscriber["id"], version - 1, subscriber["previous_key_id"]))
    signatures = [Webhook(secret).sign(str(message.id), now, body.decode()) for secret in secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": "Counterfoil",
        "webhook-id": str(message.id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    if message.traceparent:
        headers["traceparent"] = message.traceparent
    return headers, body
