"""One request of a signed-in operator: what a page is made from, and how it answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.audit.alert_loop import AlertCatalog
from shared.audit.flow import FlowReader
from shared.contract.ids import UUID
from shared.db.pool import Connection, load_engine
from shared.webhooks.routes import Webhooks

from ..audit.mail_service_view import MailServiceView
from ..http.app_state import AppState
from ..settings import Settings
from .database import IdleDatabase, ReadingDatabase
from .forms import Fields
from .mail_api import TIMEOUT_SECONDS, MailAccess, MailApi, MailFaultError, Params
from .navigation import entries
from .notices import Notices
from .operators import Operator
from .sessions import Session
from .views import HEADERS, Views


@dataclass(frozen=True)
class Tools:
    """The collaborators of all pages. `state` is the API's own: use cases commit through its pool."""

    settings: Settings
    state: AppState
    catalog: AlertCatalog
    database: IdleDatabase
    mail: MailApi
    mail_view: MailServiceView
    flow: FlowReader
    views: Views
    notices: Notices
    webhooks: Webhooks


@dataclass(frozen=True)
class Half:
    """An answer of the mail service, or why there is none."""

    found: Any = None
    fault: str = ""


@dataclass(frozen=True)
class Visit:
    tools: Tools
    request: Request
    operator: Operator
    mail_access: MailAccess
    session: Session
    token: str
    is_secure: bool
    query: Fields
    form: Fields

    def id(self, name: str) -> UUID:
        """An ID in the path."""
        found: UUID = self.request.path_params[name]
        return found

    @property
    def actor(self) -> str:
        return self.operator.actor

    async def database(self) -> ReadingDatabase:
        return await self.tools.database.open()

    async def list_database(self) -> ReadingDatabase:
        """The same for a list of the API's, whose module loads SQLAlchemy: import it after this."""
        await load_engine()
        return await self.tools.database.open()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """One read-only transaction with a statement timeout. Leave it before calling another server."""
        database = await self.database()
        async with database.pool.acquire() as connection:
            yield connection

    async def ask_mail(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """One call to the mail service. Raises MailFaultError or MailRefusedError."""
        return await self.tools.mail.call(self.operator, method, path, params=params, body=body, seconds=seconds)

    async def mail_half(
        self, path: str, *, params: Params | None = None, method: str = "GET", body: Mapping[str, Any] | None = None
    ) -> Half:
        """What the mail service knows, for a page that is shown without it, too. Raises MailRefusedError."""
        if self.mail_access.fault:
            return Half(fault=self.mail_access.fault)
        try:
            return Half(await self.ask_mail(method, path, params=params, body=body))
        except MailFaultError as error:
            return Half(fault=str(error))

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page, with the navigation and the notice of the last action. htmx takes the part that changes from it."""
        is_part = "hx-request" in self.request.headers
        notice = "" if is_part else self.tools.notices.take(self.request, self.session)
        frame = {
            "operator": self.operator,
            "navigation": entries(self.operator, self.mail_access, self.request.scope["path"]),
            "mail_fault": self.mail_access.fault,
            "mail_may": self.mail_access.may,
            "may": lambda *scopes: self.operator.may(scopes),
            "token": self.token,
            "notice": notice,
        }
        response = self.tools.views.page(template, frame | values, status=status)
        if notice:
            self.tools.notices.remove(response)
        return response

    def done(self, path: str, notice: str) -> Response:
        """After an action: go to a page, which says what was done."""
        response = RedirectResponse(path, 303, HEADERS)
        self.tools.notices.put(response, self.session, notice, secure=self.is_secure)
        return response
