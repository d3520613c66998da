"""Secrets of webhook subscribers: derived from a key of the ring, so that none is stored (DESIGN decision 9)."""

import base64
import hashlib
import hmac

from ..contract.ids import UUID
from ..contract.key_ring import KeyRing

# How long the previous secret also signs after a rotation.
OLD_SECRET_SECONDS = 86_400.0
# Keeps these secrets apart from everything else that the same key signs.
_PURPOSE = b"counterfoil webhook secret 1\0"


def derive_secret(ring: KeyRing, subscriber_id: UUID, version: int, key_id: str) -> str:
    """Returns `whsec_…`, always the same for the same arguments.

    Raises:
        UnknownSigningKeyError: the ring has no such key.
    """
    key = ring.key(key_id, use="this secret is derived from")
    secret = hmac.digest(key, _PURPOSE + subscriber_id.bytes + version.to_bytes(4, "big"), hashlib.sha256)
    return "whsec_" + base64.b64encode(secret).decode()
