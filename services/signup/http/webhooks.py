"""/v1/webhooks: manage subscribers to user events. Each subscriber belongs to the client whose key created it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Strict
from shared.contract.ids import UUID
from shared.contract.network import is_public, read_address
from shared.contract.principals import Principal
from shared.contract.problems import InvalidRequest, NotFound
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, Limit, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..accounts.webhook_subscribers import IssuedSubscriber, Subscribers
from ..outbox.events import WEBHOOK_EVENTS
from .app_state import AppState, state_of

router = APIRouter(route_class=StrictRoute, tags=["webhooks"])

Manager = Annotated[Principal, Depends(Key("webhooks:manage"))]
EventName = Literal["user.signed_up", "user.imported", "user.verified", "user.erased"]
assert EventName.__args__ == WEBHOOK_EVENTS  # type: ignore[attr-defined] # the documented way to read it

_URL = TypeAdapter(AnyHttpUrl)
_MAX_URL_LENGTH = 2000
_location = {"Location": {"description": "URL of the subscriber", "schema": {"type": "string"}}}


def _readable_url(text: str) -> str:
    """The normalized URL: an A-label host, a path. Whether the host is allowed is checked here and at each delivery."""
    try:
        url = _URL.validate_python(text)
    except ValidationError:
        raise ValueError("Must be an http or https URL") from None
    if url.username or url.password:
        raise ValueError("Must not contain credentials")
    if url.fragment is not None:
        raise ValueError("Must not contain a fragment")
    if len(str(url)) > _MAX_URL_LENGTH:
        raise ValueError(f"Must be at most {_MAX_URL_LENGTH} characters long")
    return str(url)


class NewSubscriber(Strict):
    url: Annotated[str, Field(max_length=_MAX_URL_LENGTH), AfterValidator(_readable_url)] = Field(
        description="https, at a public address, without credentials", json_schema_extra={"format": "uri"}
    )
    events: Annotated[list[EventName], Field(min_length=1, max_length=len(WEBHOOK_EVENTS))]


class Subscriber(BaseModel):
    id: UUID
    url: str
    events: list[EventName]
    created_at: datetime
    rotated_at: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None


class SubscriberWithSecret(Subscriber):
    secret: str = Field(description="`whsec_…` (Standard Webhooks); shown this once")


class SubscriberPage(BaseModel):
    items: list[Subscriber]
    next_cursor: str | None


_created: dict[int | str, dict[str, Any]] = {201: {"model": SubscriberWithSecret, "headers": _location}}


@router.post(
    "/v1/webhooks",
    status_code=201,
    response_model=SubscriberWithSecret,
    responses=openapi.keyed(problems.UnsupportedMediaType) | _created,
)
async def post_subscriber(request: Request, body: NewSubscriber, manager: Manager) -> Response:
    """Subscribe to events from now on. Deliveries are signed with the secret in the answer (Standard Webhooks)."""
    state = state_of(request)
    if not state.webhooks_may_be_private:
        _refuse_private(body.url)
    issued = await _subscribers(state).create(manager.client, body.url, list(dict.fromkeys(body.events)), manager.actor)
    return JsonResponse(_with_secret(issued), 201, {"Location": f"/v1/webhooks/{issued.subscriber['id']}"})


@router.get("/v1/webhooks", response_model=SubscriberPage, responses=openapi.keyed())
async def list_subscribers(request: Request, manager: Manager, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The client's own subscribers, newest first."""
    await load_engine()
    from ..accounts import webhook_subscriber_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    shown = clamp(limit)
    rows = await webhook_subscriber_list.list_own(
        state_of(request).database, manager.client, below=after_id(cursor), limit=shown
    )
    return JsonResponse(page([_shown(row) for row in rows], shown))


@router.get("/v1/webhooks/{subscriber_id}", response_model=Subscriber, responses=openapi.keyed(NotFound))
async def get_subscriber(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """One subscriber. `disabled_at` is set after it answered 410: enable it once it works again, or delete it."""
    row = await _subscribers(state_of(request)).find(manager.client, subscriber_id)
    if row is None:
        raise NotFound("There is no subscriber with this ID.")
    return JsonResponse(_shown(row))


@router.delete("/v1/webhooks/{subscriber_id}", status_code=204, responses=openapi.keyed(NotFound))
async def delete_subscriber(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Delete a subscriber. It gets no further deliveries."""
    if not await _subscribers(state_of(request)).delete(manager.client, subscriber_id, manager.actor):
        raise NotFound("There is no subscriber with this ID.")
    return Response(status_code=204)


@router.post(
    "/v1/webhooks/{subscriber_id}/rotate-secret", response_model=SubscriberWithSecret, responses=openapi.keyed(NotFound)
)
async def rotate_secret(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Issue a new secret. For one day both secrets sign, so that the subscriber refuses no event."""
    issued = await _subscribers(state_of(request)).rotate(manager.client, subscriber_id, manager.actor)
    if issued is None:
        raise NotFound("There is no subscriber with this ID.")
    return JsonResponse(_with_secret(issued))


@router.post("/v1/webhooks/{subscriber_id}/enable", response_model=Subscriber, responses=openapi.keyed(NotFound))
async def enable_subscriber(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Enable a disabled subscriber for events from now on, with the same secret. Idempotent.

    It does not get the events of the time it was disabled: read `GET /v1/users` for those.
    """
    row = await _subscribers(state_of(request)).enable(manager.client, subscriber_id, manager.actor)
    if row is None:
        raise NotFound("There is no subscriber with this ID.")
    return JsonResponse(_shown(row))


def _subscribers(state: AppState) -> Subscribers:
    return Subscribers(state.database.pool, state.ring)


def _refuse_private(url: str) -> None:
    """Refuse what is private without a DNS lookup. Each delivery checks the resolved address."""
    parsed = _URL.validate_python(url)
    detail = "Must be an https URL" if parsed.scheme != "https" else ""
    try:
        if not is_public(read_address((parsed.host or "").strip("[]"))):
            detail = "Must be at a public address"
    except ValueError:  # a host name
        if parsed.host == "localhost" or (parsed.host or "").endswith(".localhost"):
            detail = "Must be at a public address"
    if detail:
        raise InvalidRequest(f"/url: {detail}", errors=[{"pointer": "/url", "detail": detail}])


def _shown(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in Subscriber.model_fields}


def _with_secret(issued: IssuedSubscriber) -> dict[str, Any]:
    return _shown(issued.subscriber) | {"secret": issued.secret}
