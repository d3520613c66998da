"""POST /v1/signups: answers once the commit is durable, and depends only on signup's database (P1, P2)."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.mails import IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER
from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import OptionalKey
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute, asks_for_key

from ..accounts.sign_up import Caller, Details, SignedUp, as_user, sign_up_once
from ..errors import AlreadyVerified, ChallengeRequired, RateLimited, RequestIdReused, UserErased
from .app_state import AppState, state_of
from .schemas import Accepted, SignupRequest, User

router = APIRouter(route_class=StrictRoute, tags=["Signups"])

# The same bytes for every address: new, pending or verified.
ACCEPTED = b'{"status":"accepted"}\n'
_CREATED, _OK, _ACCEPTED = 201, 200, 202
_MAX_LENGTH = 255

_replayed = {REPLAYED_HEADER: {"description": "`true`: the answer of the first request", "schema": {"type": "string"}}}
_location = {"Location": {"description": "URL of the user", "schema": {"type": "string"}}}
_answers: dict[int | str, dict[str, Any]] = {
    200: {"model": User, "description": "With a key: the address was already pending", "headers": _replayed},
    201: {"model": User, "description": "With a key: signed up", "headers": _location | _replayed},
    202: {"model": Accepted, "description": "Without a key: the same for every address", "headers": _replayed},
    **openapi.keyed(
        ChallengeRequired, AlreadyVerified, RequestIdReused, UserErased, RateLimited, problems.UnsupportedMediaType
    ),
}

# Read without FastAPI's resolver, which needs 20 µs of 90 for these two headers (measured).
_optional_key = OptionalKey("signups:write")
_documented: dict[str, Any] = {
    "security": [{}, {_optional_key.scheme_name: []}],
    "parameters": [
        {
            "name": IDEMPOTENCY_KEY_HEADER,
            "in": "header",
            "description": "Same key and body: the stored first answer. One commit holds the key and the signup",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        }
    ],
}


@router.post(
    "/v1/signups", status_code=_ACCEPTED, response_model=Accepted, responses=_answers, openapi_extra=_documented
)
@asks_for_key(_optional_key)
async def sign_up(request: Request, body: SignupRequest) -> Response:
    """Sign a user up. When this answers, the user and the mail owed to them are committed.

    Without a key, a pending address keeps its details until a link is used: each link confirms the details of the
    signup that it was mailed for, and none changes a user whom a key or an import wrote.
    """
    state = state_of(request)
    caller = _caller(request, state, await _optional_key(request))
    if state.limit and not caller.keyed:
        await state.limit.check(request)
    idempotency_key = request.headers.get(IDEMPOTENCY_KEY_HEADER)
    if body.return_to is not None and not state.brand.allows(body.return_to):
        detail = "Must be a page of the product: one of SIGNUP_RETURN_URLS, or below one"
        raise problems.InvalidRequest(f"/return_to: {detail}", errors=[problems.at("/return_to", detail)])
    details = Details(body.email, body.name, body.locale, body.metadata, body.return_to)
    proof = state.challenge.judge(body.challenge, keyed=caller.keyed)
    replayed = False
    if idempotency_key is None:
        done = await state.batcher.sign_up(details, caller, proof)
    else:
        _check(idempotency_key)
        done, replayed = await sign_up_once(state.database.pool, idempotency_key, details, caller, state.policy, proof)
    if not replayed:
        state.pinger.ping()
    headers = {REPLAYED_HEADER: "true"} if replayed else {}
    if not caller.keyed:
        return Response(ACCEPTED, _ACCEPTED, headers, media_type="application/json")
    return _user_answer(done, headers)


def _check(idempotency_key: str) -> None:
    if not (idempotency_key.isascii() and idempotency_key.isprintable() and 1 <= len(idempotency_key) <= _MAX_LENGTH):
        detail = "Must be 1 to 255 printable ASCII characters"
        raise problems.InvalidRequest(
            f"{IDEMPOTENCY_KEY_HEADER}: {detail}", errors=[{"header": IDEMPOTENCY_KEY_HEADER, "detail": detail}]
        )


def _caller(request: Request, state: AppState, principal: Principal | None) -> Caller:
    if principal is None:
        return Caller(None, "anonymous", f"anonymous:{state.client_address(request)}")
    return Caller(principal.client, principal.actor, f"client:{principal.client}")


def _user_answer(done: SignedUp, headers: dict[str, str]) -> Response:
    user = as_user(done.user)
    if done.created:
        return JsonResponse(user, _CREATED, {"Location": f"/v1/users/{user['id']}", **headers})
    return JsonResponse(user, _OK, headers)
