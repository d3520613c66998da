"""Secrets of a setting as a ring of keys, so that a secret can be replaced while what it signed still counts."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from .configuration import ConfigurationError

KEY_ID_BYTES = 4
# 128 bits. `openssl rand -hex 32` gives twice that.
_MIN_SECRET_BYTES = 16


class UnknownSigningKeyError(Exception):
    """The key ring no longer holds the key that signed something, or that something is derived from."""


@dataclass(frozen=True)
class KeyRing:
    """The first key signs, all verify. A key's ID is a short hash of it. `setting` is the variable they come from."""

    keys: Mapping[str, bytes]
    setting: str

    @classmethod
    def read(cls, setting: str, text: str, *, use: str) -> Self:
        """Read the comma-separated secrets of a setting. `use` says what they are for.

        Raises:
            ConfigurationError: there is no key, or one is too short to be a secret.
        """
        secrets = [part.strip().encode() for part in text.split(",") if part.strip()]
        if not secrets:
            raise ConfigurationError(
                f"{setting} is empty: set at least one secret that {use}, "
                "for example the output of `openssl rand -hex 32`"
            )
        if any(len(secret) < _MIN_SECRET_BYTES for secret in secrets):
            raise ConfigurationError(f"{setting}: each secret must be at least {_MIN_SECRET_BYTES} bytes long")
        return cls({_key_id(secret): secret for secret in secrets}, setting)

    @property
    def signing_key_id(self) -> str:
        """Pinned in what is signed: it must have the same bytes after a key rotation."""
        return next(iter(self.keys))

    def key(self, key_id: str, *, use: str) -> bytes:
        """The key with this ID. `use` ends the sentence of the error.

        Raises:
            UnknownSigningKeyError: the ring has no such key.
        """
        secret = self.keys.get(key_id)
        if secret is None:
            raise UnknownSigningKeyError(f"{self.setting} has no key with ID {key_id}, which {use}")
        return secret

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """A key for another use from each secret, in their order. `purpose` separates the uses."""
        return tuple(hmac.digest(secret, purpose, hashlib.sha256) for secret in self.keys.values())


def _key_id(secret: bytes) -> str:
    return hashlib.sha256(b"counterfoil key id\0" + secret).digest()[:KEY_ID_BYTES].hex()
