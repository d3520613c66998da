"""Verification tokens: an HMAC over the outbox row's ID, so that the outbox holds no secret (DESIGN decision 9).

A token is derived when the mail is built, again and again the same, and checked without having been stored.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from shared.contract.ids import UUID

from ..errors import ConfigurationError

_ID_BYTES = 16
_KEY_ID_BYTES = 4
_MAC_BYTES = 32
# 128 bits. `openssl rand -hex 32` gives twice that.
_SHORTEST_SECRET = 16
# Keeps these MACs apart from whatever else the same secret may ever sign.
_PURPOSE = b"counterfoil verification token 1\0"


class UnknownSigningKeyError(Exception):
    """The key that a row was to be signed with is no longer in the ring."""


@dataclass(frozen=True)
class TokenRing:
    """Signs with the first key, verifies with all. Keys are named by a short hash of theirs."""

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
                "SIGNUP_TOKEN_KEYS is empty: it must hold at least one secret that signs verification links, "
                "for example the output of `openssl rand -hex 32`"
            )
        if any(len(secret) < _SHORTEST_SECRET for secret in secrets):
            raise ConfigurationError(f"SIGNUP_TOKEN_KEYS: each secret must be at least {_SHORTEST_SECRET} bytes long")
        return cls({_key_id(secret).hex(): secret for secret in secrets})

    @property
    def signing_key_id(self) -> str:
        """PartitionRetention in the outbox row: a retry after a rotation must still be the same bytes."""
        return next(iter(self.keys))

    def sign(self, outbox_id: UUID, key_id: str) -> str:
        """The token for an outbox row.

        Raises:
            UnknownSigningKeyError: the ring has no such key.
        """
        secret = self.keys.get(key_id)
        if secret is None:
            raise UnknownSigningKeyError(f"SIGNUP_TOKEN_KEYS holds no key {key_id}, which this link is signed with")
        named = outbox_id.bytes + bytes.fromhex(key_id)
        return _encode(named + _mac(secret, named))

    def verify(self, token: str) -> UUID | None:
        """The outbox row that a token was made for, or None when it was not made here."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (ValueError, binascii.Error):
            return None
        # Base64 readers overlook stray characters and bits; only the one spelling that we wrote is a token.
        if len(raw) != _ID_BYTES + _KEY_ID_BYTES + _MAC_BYTES or _encode(raw) != token:
            return None
        named, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        secret = self.keys.get(named[_ID_BYTES:].hex())
        if secret is None or not hmac.compare_digest(mac, _mac(secret, named)):
            return None
        return UUID(bytes=named[:_ID_BYTES])


def _key_id(secret: bytes) -> bytes:
    return hashlib.sha256(b"counterfoil key id\0" + secret).digest()[:_KEY_ID_BYTES]


def _mac(secret: bytes, named: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + named, hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
