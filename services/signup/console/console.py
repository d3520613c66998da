"""The console as an ASGI application: finds the operator, refuses what they may not do, and shows the page.

Built when the first request comes, from the API's collaborators and settings.
"""

from urllib.parse import urlsplit

from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.contract.problems import Forbidden, NotFound, Problem, Unauthorized
from shared.db.pool import UNAVAILABLE
from shared.http.authentication import Authenticator
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger

from ..audit.alerts import alert_catalog
from ..http.app_state import AppState
from ..settings import Settings
from .database import IdleDatabase
from .forgery import FIELD, FormTokens, is_foreign
from .forms import Fields
from .mail_api import MailApi, MailFaultError, MailRefusedError
from .mount import PATH
from .navigation import is_open_to
from .notices import Notices
from .one_time_links import SIGN_IN_PATH, OneTimeLinks
from .operators import ProxiedOperators, operator_of
from .problem_pages import ProblemPages
from .routes import PAGES, Page
from .sessions import Found, Session, Sessions
from .sign_in import SignIn, own_url
from .static_files import StaticFiles
from .views import Views
from .visit import Tools, Visit

_log = get_logger(__name__)

_SIGN_OUT_PATH = f"{PATH}/sign-out"


class Console:
    def __init__(
        self, tools: Tools, sign_in: SignIn, *, tokens: FormTokens, static: StaticFiles, problems: ProblemPages
    ) -> None:
        self._tools = tools
        self._sign_in = sign_in
        self._tokens = tokens
        self._static = static
        self._problems = problems
        self._public_host = urlsplit(tools.settings.signup_public_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except (Problem, MailRefusedError, MailFaultError) as refusal:
            response = self._problems.of(request, refusal)
        except UNAVAILABLE as error:
            _log.warning("console_page_unavailable", page=scope["route"].path, error=describe(error))
            response = self._problems.unavailable(request)
        except Exception:  # noqa: BLE001 - the last place that can answer with a page
            _log.exception("console_page_failed", page=scope["route"].path)
            response = self._problems.failed(request)
        await response(scope, receive, send)

    async def close(self) -> None:
        await self._tools.database.close()
        await self._tools.mail.close()

    async def _answer(self, request: Request) -> Response:
        path: str = request.scope["path"]
        if path.startswith(f"{PATH}/static/"):
            found = self._static.answer(*path.removeprefix(f"{PATH}/static/").partition("/")[::2])
            if found is None or request.method != "GET":
                raise NotFound("The console has no such file.")
            return found
        found_session, session = self._session(request)
        if path == SIGN_IN_PATH and not (session and session.proxied):
            return await self._sign_in.enter(request) if request.method == "POST" else self._sign_in.show(request)
        if session is None:
            return self._without_session(request)
        try:
            response = await self._signed_in(request, session)
        except Unauthorized as refusal:  # the key was revoked, or has expired
            response = self._sign_in.form(request, fault=refusal.detail, status=refusal.status)
            self._sign_in.sessions.remove(response)
            return response
        if (found_session is None or found_session.renew) and "hx-request" not in request.headers:
            secure = found_session.secure if found_session else self._sign_in.is_secure(request)
            self._sign_in.sessions.put(response, session, secure=secure)
        return response

    def _session(self, request: Request) -> tuple[Found | None, Session | None]:
        """The cookie's session, and the one that counts: the proxy's word goes before the cookie."""
        found = self._sign_in.sessions.find(request, over_tls=self._sign_in.is_over_tls(request))
        name = self._sign_in.proxied.name_in(request)
        if name is None:
            return found, found.session if found and not found.session.proxied else None
        if found and found.session.proxied == name:
            return found, found.session
        return None, Session.new(proxied=name)

    def _without_session(self, request: Request) -> Response:
        if request.method != "GET":
            raise Unauthorized("Your session has ended. Nothing was done: sign in and try again.")
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"HX-Refresh": "true"})
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A link from elsewhere: the browser held the cookie back, and sends it when we ask again ourselves.
            return self._tools.views.page("again.html", {"url": own_url(request)})
        return self._sign_in.redirect_to_form(request)

    async def _signed_in(self, request: Request, session: Session) -> Response:
        operator = await operator_of(session, self._sign_in.authenticator, self._sign_in.proxied)
        form = Fields(())
        if request.method == "POST":
            form = await Fields.of_body(request)
            self._refuse_forgery(request, session, form)
            if request.scope["path"] == _SIGN_OUT_PATH:
                return self._sign_in.leave()
        visit = Visit(
            tools=self._tools,
            request=request,
            operator=operator,
            mail_access=await self._tools.mail.access_of(operator),
            session=session,
            token=self._tokens.of(session.id),
            is_secure=self._sign_in.is_secure(request),
            query=Fields.of_query(request),
            form=form,
        )
        request.state.visit = visit  # for the page of a problem
        page = _find(request)
        _refuse_without_scopes(page, visit)
        return await page.show(visit)

    def _refuse_forgery(self, request: Request, session: Session, form: Fields) -> None:
        if is_foreign(request, self._public_host) or not self._tokens.is_of(session.id, form.text(FIELD)):
            raise Forbidden("This form is not from a page of your session. Nothing was done: open the page again.")


def _find(request: Request) -> Page:
    for page in PAGES:
        if page.method == request.method and (parameters := page.parameters(request.scope["path"])) is not None:
            request.scope["path_params"] = parameters
            request.scope["route"] = page
            return page
    raise NotFound("The console has no such page.")


def _refuse_without_scopes(page: Page, visit: Visit) -> None:
    operator, access = visit.operator, visit.mail_access
    if not is_open_to(page.room, operator, access):
        wanted = [scope for scope in page.room.needs if scope not in operator.scopes]
        wanted += [scope for scope in page.room.mail_needs if scope not in access.scopes]
        raise Forbidden(f"This page needs a key with {' and '.join(f'`{scope}`' for scope in wanted)}.")
    missing = [scope for scope in page.needs if scope not in operator.scopes]
    if page.mail_needs and access.fault:
        raise MailFaultError(access.fault)
    missing += [scope for scope in page.mail_needs if scope not in access.scopes]
    if missing:
        raise Forbidden(f"This needs a key with {' and '.join(f'`{scope}`' for scope in missing)}.")


def make_console(settings: Settings, app_state: State) -> Console:
    state: AppState = app_state.signup
    authenticator: Authenticator = app_state.authenticator
    static = StaticFiles()
    views = Views(static)
    tools = Tools(
        settings=settings,
        state=state,
        catalog=alert_catalog(settings),
        database=IdleDatabase(
            settings.process_database_url, statement_cache_size=settings.database_statement_cache_size
        ),
        mail=MailApi.connect(settings),
        mail_view=app_state.mail_service_view,
        flow=app_state.flow,
        views=views,
        notices=Notices(state.ring),
        webhooks=app_state.webhooks,
    )
    sign_in = SignIn(
        settings=settings,
        pool=state.database.pool,
        authenticator=authenticator,
        proxies=state.client_address,
        proxied=ProxiedOperators(settings, state.client_address),
        sessions=Sessions(state.ring, lifetime_seconds=settings.console_session_seconds),
        links=OneTimeLinks(state.ring),
        views=views,
    )
    return Console(tools, sign_in, tokens=FormTokens(state.ring), static=static, problems=ProblemPages(views))
