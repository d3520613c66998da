"""Providers without signatures send a secret that the operator put into the webhook's URL or headers.

HTTP Basic with the secret as the password, or as `user:password`, or a bearer token.
"""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256

from ..errors import SignatureInvalid
from .source import Headers


def verify_shared_secret(headers: Headers, secrets: Sequence[str]) -> None:
    """Raises SignatureInvalid unless the Authorization header has one of the secrets."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        offered = _basic(text.strip())
    elif scheme.lower() == "bearer":
        offered = [text.strip()]
    else:
        raise SignatureInvalid("The call brings neither a user name with a password nor a bearer token.", basic=True)
    # Digests have one length, and every pair is compared: the time says nothing about a secret.
    matches = [
        hmac.compare_digest(sha256(text.encode("utf-8", "replace")).digest(), sha256(secret.encode()).digest())
        for text in offered
        for secret in secrets
    ]
    if not any(matches):
        raise SignatureInvalid("The secret is wrong.", basic=True)


def _basic(text: str) -> list[str]:
    try:
        credentials = b64decode(text, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return []
    return [credentials.partition(":")[2], credentials]
