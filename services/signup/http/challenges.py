"""GET /v1/challenges: what a caller without a key solves where SIGNUP_CHALLENGE asks for it (ADR 0029)."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from shared.http import openapi
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from .app_state import state_of
from .schemas import Challenge

router = APIRouter(route_class=StrictRoute, tags=["Signups"])


@router.get("/v1/challenges", response_model=Challenge, responses=openapi.error_responses())
async def get_challenge(request: Request) -> Response:
    """A challenge in the format of ALTCHA, whose widget can use this URL. Good once, for ten minutes.

    Find the number, at most `maxnumber`, for which `challenge` is the hex SHA-256 of `salt` and the number in digits.
    Send base64 of the JSON `{algorithm, challenge, number, salt, signature}` as `challenge` of the request.
    """
    return JsonResponse(state_of(request).challenge.challenges.make(), headers={"Cache-Control": "no-store"})
