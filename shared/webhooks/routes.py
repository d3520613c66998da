"""/v1/webhooks: manage subscribers to events. Each subscriber belongs to the client whose key created it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ..contract import problems
from ..contract.ids import UUID
from ..contract.principals import Principal
from ..contract.problems import NotFound
from ..db.pool import Record
from ..http import openapi
from ..http.authentication import Key
from ..http.pagination import Cursor, Limit, Timestamp, after_id, clamp, page
from ..http.responses import JsonResponse
from ..http.routing import StrictRoute
from .delivery_log import Deliveries, Span, Wanted
from .errors import SubscriberDisabled, TooManyReplays, WebhooksOff
from .schemas import (
    STATES,
    DeliveryPage,
    DeliveryState,
    OneOf,
    Replayed,
    ReplaySpan,
    Subscriber,
    SubscriberPage,
    SubscriberUrl,
    SubscriberWithSecret,
    refuse_private,
)
from .subscribers import IssuedSubscriber, Subscribers

Manager = Annotated[Principal, Depends(Key("webhooks:manage"))]
_PATH = "/v1/webhooks"
_location = {"Location": {"description": "URL of the subscriber", "schema": {"type": "string"}}}
_created: dict[int | str, dict[str, Any]] = {201: {"model": SubscriberWithSecret, "headers": _location}}


@dataclass(frozen=True)
class Webhooks:
    """What the routes use, at `app.state.webhooks`. `on_replay`: called when there is something to deliver again."""

    subscribers: Subscribers
    deliveries: Deliveries
    may_be_private: bool
    on_replay: Callable[[], None] | None = None


def webhook_router(events: Sequence[str]) -> APIRouter:
    """All routes, for a service with these events."""
    router = APIRouter(route_class=StrictRoute, tags=["Webhooks"])
    _add_create(router, events)
    router.get(_PATH, response_model=SubscriberPage, responses=openapi.keyed())(list_webhooks)
    one = f"{_PATH}/{{subscriber_id}}"
    found = openapi.keyed(NotFound)
    router.get(one, response_model=Subscriber, responses=found)(get_webhook)
    router.delete(one, status_code=204, responses=found)(delete_webhook)
    rotated = openapi.keyed(NotFound, WebhooksOff)
    router.post(f"{one}/rotate-secret", response_model=SubscriberWithSecret, responses=rotated)(rotate_webhook_secret)
    router.post(f"{one}/enable", response_model=Subscriber, responses=found)(enable_webhook)
    _add_log(router, events)
    _add_replay(router, events)
    return router


def _add_create(router: APIRouter, names: Sequence[str]) -> None:
    EventName = Annotated[str, OneOf(names)]  # noqa: N806 - a type

    class NewSubscriber(SubscriberUrl):
        """Where to post which events."""

        events: Annotated[list[EventName], Field(min_length=1, max_length=len(names))]
        """The events that it gets."""

    @router.post(
        _PATH,
        status_code=201,
        response_model=SubscriberWithSecret,
        responses=openapi.keyed(WebhooksOff, problems.UnsupportedMediaType) | _created,
    )
    async def create_webhook(request: Request, body: NewSubscriber, manager: Manager) -> Response:
        """Subscribe to events from now on. Deliveries are signed with the secret in the answer (Standard Webhooks)."""
        webhooks = _webhooks(request)
        if not webhooks.may_be_private:
            refuse_private(body.url)
        wanted = list(dict.fromkeys(body.events))
        issued = await webhooks.subscribers.create(manager.client, body.url, wanted, manager.actor)
        return JsonResponse(_with_secret(issued), 201, {"Location": f"{_PATH}/{issued.subscriber['id']}"})


async def list_webhooks(request: Request, manager: Manager, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The client's own subscribers, newest first."""
    shown = clamp(limit)
    rows = await _webhooks(request).subscribers.list_own(manager.client, below=after_id(cursor), limit=shown)
    return JsonResponse(page([_shown(row) for row in rows], shown))


async def get_webhook(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """One subscriber. `disabled_at` is set after it answered 410: enable it once it works again, or delete it."""
    return JsonResponse(_shown(await _own(request, subscriber_id, manager)))


async def delete_webhook(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Delete a subscriber. It gets no further deliveries, and its log is no longer shown."""
    if not await _webhooks(request).subscribers.delete(manager.client, subscriber_id, manager.actor):
        raise _unknown()
    return Response(status_code=204)


async def rotate_webhook_secret(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Issue a new secret. For one day both secrets sign, so that the subscriber refuses no event."""
    issued = await _webhooks(request).subscribers.rotate(manager.client, subscriber_id, manager.actor)
    if issued is None:
        raise _unknown()
    return JsonResponse(_with_secret(issued))


async def enable_webhook(request: Request, subscriber_id: UUID, manager: Manager) -> Response:
    """Enable a disabled subscriber for events from now on, with the same secret. Idempotent.

    It does not get the events of the time it was disabled: replay those.
    """
    row = await _webhooks(request).subscribers.enable(manager.client, subscriber_id, manager.actor)
    if row is None:
        raise _unknown()
    return JsonResponse(_shown(row))


def _add_log(router: APIRouter, names: Sequence[str]) -> None:
    EventName = Annotated[str, OneOf(names)]  # noqa: N806 - a type

    @router.get(f"{_PATH}/{{subscriber_id}}/deliveries", response_model=DeliveryPage, responses=openapi.keyed(NotFound))
    async def list_webhook_deliveries(  # noqa: PLR0913, PLR0917 - its filters
        request: Request,
        subscriber_id: UUID,
        manager: Manager,
        state: Annotated[Sequence[DeliveryState], Query(max_length=len(STATES))] = (),
        event: Annotated[Sequence[EventName], Query(max_length=len(names))] = (),
        after: Annotated[Timestamp | None, Query(description="Events at or after this time")] = None,
        before: Annotated[Timestamp | None, Query(description="Events before this time")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """What was sent to a subscriber and what waits, newest event first. A replayed event has one line, the last."""
        await _own(request, subscriber_id, manager)
        shown, wanted_events = clamp(limit), list(dict.fromkeys(event)) or list(names)
        wanted = Wanted(state or STATES, wanted_events, Span(after, before), after_id(cursor))
        rows = await _webhooks(request).deliveries.page(subscriber_id, wanted, limit=shown)
        return JsonResponse(page([dict(row) for row in rows], shown))


def _add_replay(router: APIRouter, names: Sequence[str]) -> None:
    EventName = Annotated[str, OneOf(names)]  # noqa: N806 - a type

    class Replay(ReplaySpan):
        """Which events to deliver again."""

        events: Annotated[list[EventName], Field(min_length=1, max_length=len(names))] | None = Field(
            None, description="Only these; null: all that the subscriber gets"
        )

    @router.post(
        f"{_PATH}/{{subscriber_id}}/replay",
        status_code=202,
        response_model=Replayed,
        responses=openapi.keyed(NotFound, SubscriberDisabled, TooManyReplays, problems.UnsupportedMediaType),
    )
    async def replay_webhook(request: Request, subscriber_id: UUID, body: Replay, manager: Manager) -> Response:
        """Deliver the events since `from` again, delivered before or not: in order, with the same `webhook-id`.

        Also those that were given up, and those of the time when the subscriber was disabled, as far as they are on
        record. An event that waits to be delivered is not added a second time.
        """
        webhooks = _webhooks(request)
        subscriber = await _own(request, subscriber_id, manager)
        wanted = _replayed_events(subscriber, body.events)
        if subscriber["disabled_at"]:
            raise SubscriberDisabled("Enable the subscriber first: nothing is delivered to a disabled one.")
        span = Span(body.from_, body.to)
        counted = await webhooks.deliveries.replay(subscriber, span, wanted, actor=manager.actor)
        if webhooks.on_replay:
            webhooks.on_replay()
        return JsonResponse({"replayed": counted.replayed, "more": counted.more}, 202)


def _replayed_events(subscriber: Record, asked: Sequence[str] | None) -> list[str]:
    """Raises InvalidRequest for an event that the subscriber does not get."""
    errors = [
        problems.at(f"/events/{n}", "The subscriber does not get this event")
        for n, event in enumerate(asked or ())
        if event not in subscriber["events"]
    ]
    if errors:
        raise problems.invalid(errors)
    return list(dict.fromkeys(asked or subscriber["events"]))


def _webhooks(request: Request) -> Webhooks:
    webhooks: Webhooks = request.app.state.webhooks
    return webhooks


async def _own(request: Request, subscriber_id: UUID, manager: Principal) -> Record:
    row = await _webhooks(request).subscribers.find(manager.client, subscriber_id)
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound("There is no subscriber with this ID.")


def _shown(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in Subscriber.model_fields}


def _with_secret(issued: IssuedSubscriber) -> dict[str, Any]:
    return _shown(issued.subscriber) | {"secret": issued.secret}
