"""Sessions of operators: a sealed cookie and nothing on the server, so that any process can read it.

The cookie holds the operator's keys; no page and no URL does. What a key may do is asked anew on every request, so a
revoked key ends its sessions.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from ..verification_token import TokenRing
from .sealing import Seal

# Browsers accept the first only over TLS, from this host, for all paths (RFC 6265bis section 4.1.3.2).
SECURE_COOKIE, PLAIN_COOKIE = "__Host-counterfoil-console", "counterfoil-console"
_PLAIN_PATH = "/console"
IDLE_SECONDS = 1800
# A page that is looked at keeps the session alive; a cookie each second would say nothing more.
_RENEW_SECONDS = 60


@dataclass(frozen=True)
class Session:
    """`key` is empty when a proxy names the operator, and then `proxied` is their name."""

    id: str
    born: int
    key: str = ""
    mail_key: str = ""
    proxied: str = ""

    @classmethod
    def new(cls, *, key: str = "", mail_key: str = "", proxied: str = "") -> "Session":
        return cls(secrets.token_urlsafe(16), int(time.time()), key, mail_key, proxied)

    def with_mail_key(self, mail_key: str) -> "Session":
        return replace(self, mail_key=mail_key)


@dataclass(frozen=True)
class Found:
    """The session of a request, and whether its cookie is the secure one and should be renewed."""

    session: Session
    secure: bool
    renew: bool


class Sessions:
    def __init__(self, ring: TokenRing, *, lifetime_seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._seal = Seal(ring, b"session")
        self._lifetime_seconds = lifetime_seconds
        self._idle_seconds = min(IDLE_SECONDS, lifetime_seconds)
        self._clock = clock

    def find(self, request: Request, *, over_tls: bool) -> Found | None:
        """None without a cookie, and when it was not made here, is too old, or was not used for too long."""
        for name in (SECURE_COOKIE,) if over_tls else (SECURE_COOKIE, PLAIN_COOKIE):
            sealed = request.cookies.get(name)
            content = self._seal.open(sealed, max_age_seconds=self._idle_seconds) if sealed else None
            if sealed and content and content["born"] + self._lifetime_seconds > self._clock():
                renew = self._seal.sealed_at(sealed) + _RENEW_SECONDS < self._clock()
                return Found(Session(**content), name == SECURE_COOKIE, renew)
        return None

    def put(self, response: Response, session: Session, *, secure: bool) -> None:
        """Set the cookie. SameSite=Strict: no other site can make the browser send it."""
        left = session.born + self._lifetime_seconds - int(self._clock())
        response.set_cookie(
            SECURE_COOKIE if secure else PLAIN_COOKIE,
            self._seal.seal(asdict(session)),
            max_age=max(0, left),
            path="/" if secure else _PLAIN_PATH,
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    @staticmethod
    def remove(response: Response) -> None:
        response.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        response.delete_cookie(PLAIN_COOKIE, path=_PLAIN_PATH, httponly=True, samesite="strict")
