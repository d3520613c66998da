"""Who looks at the console: the client of a typed key, or the operator whom a trusted proxy names."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request

from shared.contract.principals import console_actor, is_operator_name
from shared.contract.problems import Forbidden, Unauthorized
from shared.http.authentication import Authenticator

from ..http.client_address import ClientAddress
from ..settings import Settings
from .sessions import Session

# A key with none of these opens no page of signup's.
SCOPES = ("audit:read", "users:import", "webhooks:manage")


@dataclass(frozen=True)
class Operator:
    """`client` owns imports and subscribers; `name` is what history shows. `mail_key` may be unknown there."""

    name: str
    client: str
    scopes: frozenset[str]
    mail_key: str
    named_by_proxy: bool = False

    @property
    def actor(self) -> str:
        return console_actor(self.name)

    def may(self, scopes: Sequence[str]) -> bool:
        return self.scopes.issuperset(scopes)


class ProxiedOperators:
    """CONSOLE_PROXY_HEADER: the name that a trusted proxy gives, and the keys that such operators act with."""

    def __init__(self, settings: Settings, proxies: ClientAddress) -> None:
        self._header = settings.console_proxy_header
        self._proxies = proxies
        self.key = settings.console_api_key
        self.mail_key = settings.console_mail_api_key

    def name_in(self, request: Request) -> str | None:
        """The operator's name; None when no header is expected, or another than a trusted proxy sends it.

        Raises:
            Unauthorized: it is not there, or is no name.
        """
        if not self._header or not self._proxies.is_proxy(request):
            return None
        names = request.headers.getlist(self._header)
        name = unquote(names[0], errors="replace").strip() if len(names) == 1 else ""
        if not is_operator_name(name):
            raise Unauthorized(f"The proxy did not name an operator in {self._header}.")
        return name


async def operator_of(session: Session, authenticator: Authenticator, proxied: ProxiedOperators) -> Operator:
    """The operator of a session, as their key allows now.

    Raises:
        Unauthorized: the key is not known any more, or never was.
        Forbidden: it opens no page.
    """
    key = proxied.key if session.proxied else session.key
    principal = await authenticator.authenticate(f"Bearer {key}")
    if not principal.scopes.intersection(SCOPES):
        raise Forbidden(f"The console needs a key with one of the scopes {', '.join(SCOPES)}.")
    mail_key = proxied.mail_key if session.proxied else session.mail_key or session.key
    name = session.proxied or principal.client
    return Operator(name, principal.client, principal.scopes, mail_key, named_by_proxy=bool(session.proxied))
