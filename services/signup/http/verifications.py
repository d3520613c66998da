"""/v1/verifications and /verify: verify an address by a token from a mail; /verify serves pages for browsers."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.db.pool import UNAVAILABLE
from shared.http import openapi
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute, for_browsers
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger

from ..accounts.verify import Verification, resend, return_url_of, verify
from ..errors import ChallengeRequired, RateLimited, TokenExpired, TokenUnknown
from .app_state import state_of
from .schemas import Accepted, ResendRequest, VerificationRequest, Verified
from .signups import ACCEPTED

_log = get_logger(__name__)
router = APIRouter(route_class=StrictRoute, tags=["Verifications"])

_html = {"text/html": {"schema": {"type": "string"}}}
_Token = Annotated[str, Path(description="The token of the link in the mail")]


def _page(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": _html, "description": description}}


@router.post(
    "/v1/verifications",
    response_model=Verified,
    responses=openapi.error_responses(TokenUnknown, TokenExpired, RateLimited, problems.UnsupportedMediaType),
)
async def verify_address(request: Request, body: VerificationRequest) -> Response:
    """Verify the address that a token was mailed to. Idempotent."""
    return JsonResponse({"status": await _verify(request, body.token)})


@router.post(
    "/v1/verifications/resend",
    status_code=202,
    response_model=Accepted,
    responses=openapi.error_responses(ChallengeRequired, RateLimited, problems.UnsupportedMediaType),
)
async def resend_verification(request: Request, body: ResendRequest) -> Response:
    """Mail another verification link to a pending address, once per cooldown. The answer is always the same."""
    state = state_of(request)
    if state.limit:
        await state.limit.check(request)
    proof = state.challenge.judge(body.challenge)
    if await resend(state.database.pool, body.email.key, state.policy, proof):
        state.pinger.ping()
    return Response(ACCEPTED, 202, media_type="application/json")


@router.get(
    "/verify/{token}",
    response_class=Response,
    responses=openapi.error_responses() | _page(200, "A page with a button. Opening it changes nothing"),
)
@for_browsers
async def get_verify_page(request: Request, token: _Token) -> Response:
    """The confirmation page, like all pages in the language that `Accept-Language` prefers.

    Mail scanners follow links, so a GET verifies nothing.
    """
    del token
    return _answer(request, "confirm")


@router.post(
    "/verify/{token}",
    response_class=Response,
    responses=openapi.error_responses()
    | _page(200, "Verified, now or before")
    | _page(404, "The link is unknown")
    | _page(410, "The link has expired")
    | _page(429, "Too many requests from this address; `Retry-After` says when to try again")
    | _page(503, "The database is unavailable"),
)
@for_browsers
async def confirm_on_verify_page(request: Request, token: _Token) -> Response:
    """The action of the page's button. Every outcome is a page and not a problem document: a person reads it."""
    try:
        outcome = await _verify(request, token)
    except TokenUnknown:
        return _answer(request, "unknown", 404)
    except TokenExpired:
        return _answer(request, "expired", 410)
    except RateLimited as refusal:
        return _answer(request, "busy", 429, refusal.headers)
    except UNAVAILABLE as error:
        _log.warning("database_unavailable", error=describe(error))
        return _answer(request, "unavailable", 503, {"Retry-After": "1"})
    return _answer(request, outcome, back=await _way_back(request, token))


async def _way_back(request: Request, token: str) -> str | None:
    state = state_of(request)
    if not state.brand.return_urls:
        return None
    return_to = None
    with suppress(*UNAVAILABLE):  # the address is verified, whether or not the database can be asked again
        return_to = await return_url_of(state.database.pool, state.ring, token)
    return state.brand.way_back(return_to)


def _answer(
    request: Request, page: str, status: int = 200, headers: Mapping[str, str] | None = None, *, back: str | None = None
) -> Response:
    languages = ",".join(request.headers.getlist("accept-language"))
    return state_of(request).pages.render(page, languages, status, headers, back=back)


async def _verify(request: Request, token: str) -> Verification:
    state = state_of(request)
    if state.limit:
        await state.limit.check(request)
    outcome = await verify(state.database.pool, state.ring, token, state.policy)
    if outcome is Verification.VERIFIED:
        state.pinger.ping()
    return outcome
