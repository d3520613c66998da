"""Verification tokens: an HMAC over the outbox row's ID, so that the outbox holds no secret (DESIGN decision 9).

Building the mail derives the token, the same one on every retry. Checking it needs no stored copy.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from shared.contract.configuration import ConfigurationError
from shared.contract.ids import UUID

_ID_BYTES = 16
_KEY_ID_BYTES = 4
_MAC_BYTES = 32
# 128 bits. `openssl rand -hex 32` gives twice that.
_MIN_SECRET_BYTES = 16
# Separates these MACs from any other use of the same secret.
_PURPOSE = b"counterfoil verification token 1\0"


class UnknownSigningKeyError(Exception):
    """The key ring no longer holds the key pinned in the row."""


@dataclass(frozen=True)
class TokenRing:
    """Signs with the first key, verifies with all. A key's ID is a short hash of it."""

    keys: dict[str, bytes]

    @classmethod
    def from_setting(cls, text: str) -> "TokenRing":
        """Read SIGNUP_TOKEN_KEYS.

        Raises:
            ConfigurationError: there is no key, or one is too short to be a secret.
        """
        secrets = [part.strip().encode() for part in text.split(",") if part.strip()]
        if not secrets:
            raise ConfigurationError(
                "SIGNUP_TOKEN_KEYS is empty: set at least one secret that signs verification links, "
                "for example the output of `openssl rand -hex 32`"
            )
        if any(len(secret) < _MIN_SECRET_BYTES for secret in secrets):
            raise ConfigurationError(f"SIGNUP_TOKEN_KEYS: each secret must be at least {_MIN_SECRET_BYTES} bytes long")
        return cls({_key_id(secret).hex(): secret for secret in secrets})

    @property
    def signing_key_id(self) -> str:
        """Pinned in the outbox row: a retry after a key rotation must have the same bytes."""
        return next(iter(self.keys))

    def sign(self, outbox_id: UUID, key_id: str) -> str:
        """The token for an outbox row.

        Raises:
            UnknownSigningKeyError: the ring has no such key.
        """
        secret = self.keys.get(key_id)
        if secret is None:
            raise UnknownSigningKeyError(f"SIGNUP_TOKEN_KEYS has no key with ID {key_id}, which signs this link")
        signed = outbox_id.bytes + bytes.fromhex(key_id)
        return _encode(signed + _mac(secret, signed))

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """A key for another use from each secret, in their order. `purpose` separates the uses."""
        return tuple(hmac.digest(secret, purpose, hashlib.sha256) for secret in self.keys.values())

    def verify(self, token: str) -> UUID | None:
        """The ID of the outbox row that the token was signed for, or None when this ring did not sign it."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (ValueError, binascii.Error):
            return None
        # Base64 decoders ignore stray characters and bits; accept only the spelling that `sign` writes.
        if len(raw) != _ID_BYTES + _KEY_ID_BYTES + _MAC_BYTES or _encode(raw) != token:
            return None
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        secret = self.keys.get(signed[_ID_BYTES:].hex())
        if secret is None or not hmac.compare_digest(mac, _mac(secret, signed)):
            return None
        return UUID(bytes=signed[:_ID_BYTES])


def _key_id(secret: bytes) -> bytes:
    return hashlib.sha256(b"counterfoil key id\0" + secret).digest()[:_KEY_ID_BYTES]


def _mac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + signed, hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
