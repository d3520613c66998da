"""Protection against forged posts: a token in every form, bound to the session, and what the browser says of a post.

The cookie's SameSite=Strict keeps other sites out already; a page of the same site, or an old browser, needs the rest.
"""

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from ..verification_token import TokenRing

FIELD = "token"
_SAME = ("same-origin", "none")


class FormTokens:
    """The same token for all forms of a session."""

    def __init__(self, ring: TokenRing) -> None:
        self._keys = ring.derive(b"counterfoil console form 1\0")

    def of(self, session_id: str) -> str:
        return _mac(self._keys[0], session_id)

    def is_of(self, session_id: str, token: str) -> bool:
        return any(hmac.compare_digest(_mac(key, session_id), token) for key in self._keys)


def _mac(key: bytes, session_id: str) -> str:
    return hmac.digest(key, session_id.encode(), hashlib.sha256).hex()


def is_foreign(request: Request, public_host: str) -> bool:
    """Whether the browser says that a page of another origin sent this. A program says neither."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in _SAME
    origin = request.headers.get("origin")
    if origin is None:
        return False
    # A proxy may have changed Host.
    return urlsplit(origin).netloc not in {request.headers.get("host", ""), public_host}
