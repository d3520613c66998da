"""Sealing: text that only this service can write and read, in cookies and links. Fernet (encrypted and signed).

The keys are derived from SIGNUP_TOKEN_KEYS, one for each purpose: the first secret seals, all open.
"""

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ..verification_token import TokenRing


class Seal:
    """What one purpose seals, no other opens."""

    def __init__(self, ring: TokenRing, purpose: bytes) -> None:
        keys = ring.derive(b"counterfoil console " + purpose + b" 1\0")
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def seal(self, content: Mapping[str, Any]) -> str:
        """The content, sealed, with the time of this call."""
        return self._fernet.encrypt(orjson.dumps(content)).decode()

    def open(self, sealed: str, *, max_age_seconds: float) -> dict[str, Any] | None:
        """The content; None when it was not sealed here, or longer ago than this."""
        try:
            content: dict[str, Any] = orjson.loads(self._fernet.decrypt(sealed.encode(), ttl=int(max_age_seconds)))
        except (InvalidToken, UnicodeEncodeError):
            return None
        return content

    def sealed_at(self, sealed: str) -> int:
        """When it was sealed, in seconds since 1970. Of text that `open` has opened."""
        return self._fernet.extract_timestamp(sealed.encode())
