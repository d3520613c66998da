"""Signing in with an operator's key, typed once or sealed in a link that works once; and signing out."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.contract.principals import CONSOLE
from shared.contract.problems import Forbidden, Problem, Unauthorized
from shared.db.pool import Pool
from shared.http.authentication import Authenticator

from ..http.client_address import ClientAddress
from ..settings import Settings
from .forgery import is_foreign
from .forms import Fields
from .mount import PATH
from .one_time_links import SIGN_IN_PATH, OneTimeLinks
from .operators import Operator, ProxiedOperators, operator_of
from .sessions import Session, Sessions
from .views import HEADERS, Views

NOTE_SIGN_IN = """
INSERT INTO history (kind, subject, related, actor, detail)
VALUES ('console.signed_in', $1, ARRAY[$2], $3, jsonb_build_object('by', $4::text))
"""

_SPENT = "This link was used, or is older than ten minutes. Sign in with a key, or have a new link printed."
_NO_KEY = "The key of the mail service is a key as `keys create` prints it: letters, digits and underscores."
_FOREIGN = "This form was sent from another site. Nothing was done."
# Browsers leave a folder for dots, and for %2e.
_OWN_PATH = re.compile(rf"{PATH}(?:/[a-z0-9_-]+)*(?:\?[!-~]*)?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class SignIn:
    settings: Settings
    pool: Pool
    authenticator: Authenticator
    proxies: ClientAddress
    proxied: ProxiedOperators
    sessions: Sessions
    links: OneTimeLinks
    views: Views

    def is_over_tls(self, request: Request) -> bool:
        """As this process or a trusted proxy sees it."""
        if request.scope["scheme"] == "https":
            return True
        return self.proxies.is_proxy(request) and request.headers.get("x-forwarded-proto", "").lower() == "https"

    def is_secure(self, request: Request) -> bool:
        """Whether the browser reached us by TLS, as far as anything says so. Then the cookie is for TLS alone."""
        public = urlsplit(self.settings.signup_public_url)
        by_name = public.scheme == "https" and request.headers.get("host", "") == public.netloc
        return self.is_over_tls(request) or by_name or request.headers.get("origin", "").startswith("https://")

    def redirect_to_form(self, request: Request) -> Response:
        return RedirectResponse(f"{SIGN_IN_PATH}?next={quote(own_url(request))}", 303, HEADERS)

    def form(
        self, request: Request, *, wanted: str = PATH, once: str = "", fault: str = "", status: int = 200
    ) -> Response:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        return self.views.page(
            "sign_in.html",
            {
                "operator": None,
                "wanted": wanted,
                "once": once,
                "fault": fault,
                "in_the_clear": not self.is_secure(request) and host not in _LOOPBACK,
            },
            status=status,
        )

    def show(self, request: Request) -> Response:
        query = Fields.of_query(request)
        once = query.text("once", longest=4_000)
        if once and not self.links.is_good(once):
            return self.form(request, fault=_SPENT, status=410)
        return self.form(request, wanted=own_path(query.text("next")), once=once)

    async def enter(self, request: Request) -> Response:
        """Check the key and set the cookie. Signing in is a line of history."""
        if is_foreign(request, urlsplit(self.settings.signup_public_url).netloc):
            return self.form(request, fault=_FOREIGN, status=403)
        fields = await Fields.of_body(request)
        once, wanted = fields.text("once", longest=4_000), own_path(fields.text("next"))
        key = await self.links.spend(self.pool, once) if once else fields.text("key", longest=200)
        if key is None:
            return self.form(request, fault=_SPENT, status=410)
        mail_key = fields.text("mail_key", longest=200)
        if not (mail_key.isascii() and mail_key.isprintable()):  # no header could hold it
            return self.form(request, wanted=wanted, fault=_NO_KEY, status=422)
        session = Session.new(key=key, mail_key=mail_key)
        try:
            operator = await operator_of(session, self.authenticator, self.proxied)
        except (Unauthorized, Forbidden) as refusal:
            return self.form(request, wanted=wanted, fault=_said(refusal), status=refusal.status)
        await self.note(operator, "link" if once else "key")
        response = RedirectResponse(wanted, 303, HEADERS)
        self.sessions.put(response, session, secure=self.is_secure(request))
        return response

    async def note(self, operator: Operator, by: str) -> None:
        await self.pool.execute(NOTE_SIGN_IN, CONSOLE, operator.client, operator.actor, by)

    def leave(self) -> Response:
        response = RedirectResponse(SIGN_IN_PATH, 303, HEADERS)
        self.sessions.remove(response)
        return response


def own_url(request: Request) -> str:
    """The path and query that were asked for, as the browser wrote them."""
    raw: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


def _said(refusal: Problem) -> str:
    return "Type an operator's key: it begins with cf_." if "Send `Authorization" in refusal.detail else refusal.detail


def own_path(text: str) -> str:
    """Where to go after signing in: a page of the console, and nothing else."""
    return text if _OWN_PATH.fullmatch(text) else PATH
