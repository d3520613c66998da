"""What an action did, told once on the next page: a sealed cookie that lives for a minute."""

from starlette.requests import Request
from starlette.responses import Response

from ..verification_token import TokenRing
from .mount import PATH
from .sealing import Seal
from .sessions import Session

_COOKIE = "counterfoil-console-notice"
_LIFETIME_SECONDS = 60


class Notices:
    def __init__(self, ring: TokenRing) -> None:
        self._seal = Seal(ring, b"notice")

    def put(self, response: Response, session: Session, text: str, *, secure: bool) -> None:
        response.set_cookie(
            _COOKIE,
            self._seal.seal({"session": session.id, "text": text}),
            max_age=_LIFETIME_SECONDS,
            path=PATH,
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    def take(self, request: Request, session: Session) -> str:
        """The notice for this session, or an empty text."""
        content = self._seal.open(request.cookies.get(_COOKIE, ""), max_age_seconds=_LIFETIME_SECONDS)
        return content["text"] if content and content["session"] == session.id else ""

    @staticmethod
    def remove(response: Response) -> None:
        response.delete_cookie(_COOKIE, path=PATH, httponly=True, samesite="strict")
