"""Verification tokens: an HMAC over the outbox row's ID, so that the outbox holds no secret (DESIGN decision 9).

Building the mail derives the token, the same one on every retry. Checking it needs no stored copy.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from shared.contract.ids import UUID
from shared.contract.key_ring import KEY_ID_BYTES, KeyRing

_ID_BYTES = 16
_MAC_BYTES = 32
# Separates these MACs from any other use of the same secret.
_PURPOSE = b"counterfoil verification token 1\0"


@dataclass(frozen=True)
class TokenRing(KeyRing):
    """The keys of SIGNUP_TOKEN_KEYS."""

    @classmethod
    def from_setting(cls, text: str) -> "TokenRing":
        """Raises ConfigurationError as `KeyRing.read` does."""
        return cls.read("SIGNUP_TOKEN_KEYS", text, use="signs verification links")

    def sign(self, outbox_id: UUID, key_id: str) -> str:
        """The token for an outbox row.

        Raises:
            UnknownSigningKeyError: the ring has no such key.
        """
        secret = self.key(key_id, use="signs this link")
        signed = outbox_id.bytes + bytes.fromhex(key_id)
        return _encode(signed + _mac(secret, signed))

    def verify(self, token: str) -> UUID | None:
        """The ID of the outbox row that the token was signed for, or None when this ring did not sign it."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (ValueError, binascii.Error):
            return None
        # Base64 decoders ignore stray characters and bits; accept only the spelling that `sign` writes.
        if len(raw) != _ID_BYTES + KEY_ID_BYTES + _MAC_BYTES or _encode(raw) != token:
            return None
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        secret = self.keys.get(signed[_ID_BYTES:].hex())
        if secret is None or not hmac.compare_digest(mac, _mac(secret, signed)):
            return None
        return UUID(bytes=signed[:_ID_BYTES])


def _mac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + signed, hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
