"""Pages for what went wrong: refusals, what was not found, and servers that do not answer."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shared.contract.correlation import current
from shared.contract.problems import Problem

from .mail_api import MailFaultError, MailRefusedError
from .mount import PATH
from .views import Views
from .visit import Visit

_FAILED, _BAD_GATEWAY, _UNAVAILABLE = 500, 502, 503


class ProblemPages:
    def __init__(self, views: Views) -> None:
        self._views = views

    def of(self, request: Request, refusal: Problem | MailRefusedError | MailFaultError) -> Response:
        if isinstance(refusal, MailFaultError):
            return self._page(request, _BAD_GATEWAY, "The mail service's half is missing", str(refusal))
        detail = refusal.detail if isinstance(refusal, Problem) else str(refusal)
        errors = [
            (error.get("parameter") or error.get("header") or error.get("pointer", "").strip("/"), error["detail"])
            for error in refusal.errors
        ]
        return self._page(request, refusal.status, refusal.title, detail, errors)

    def unavailable(self, request: Request) -> Response:
        detail = "Signup's database did not answer in time. Nothing is lost: load the page again."
        return self._page(request, _UNAVAILABLE, "Not now", detail)

    def failed(self, request: Request) -> Response:
        return self._page(request, _FAILED, "This page failed", "The fault was logged with the correlation ID.")

    def _page(
        self, request: Request, status: int, title: str, detail: str, errors: list[tuple[str, str]] | None = None
    ) -> Response:
        here = current()
        values = {
            "code": status,
            "title": title,
            "detail": detail,
            "errors": errors or [],
            "correlation_id": here.request_id if here else "",
            "back": _page_before(request),
        }
        visit: Visit | None = getattr(request.state, "visit", None)
        if visit is not None:
            return visit.page("problem.html", status=status, **values)
        return self._views.page("problem.html", {"operator": None, **values}, status=status)


def _page_before(request: Request) -> str:
    """The page of the console that led here, or the first one."""
    before = urlsplit(request.headers.get("referer", ""))
    is_ours = before.path == PATH or before.path.startswith(f"{PATH}/")
    return before.path + (f"?{before.query}" if before.query else "") if is_ours else PATH
