"""Webhook subscribers of the operator's client in both services: what was delivered, what waits, and a replay."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from shared.contract.problems import Forbidden, NotFound
from shared.db.pool import Record
from shared.http.pagination import cursor_of
from shared.webhooks.delivery_log import Span, Wanted
from shared.webhooks.errors import SubscriberDisabled
from shared.webhooks.schemas import STATES
from shared.webhooks.subscribers import Subscribers

from ...outbox.webhook_deliveries import WebhookDeliveries
from ..forms import wrong
from ..mount import PATH
from ..visit import Half, Visit

SCOPE = "webhooks:manage"
_PATH, _PAGE = f"{PATH}/webhooks", 50


async def show(visit: Visit) -> Response:
    own, mail = Half({"items": []}), Half({"items": []})
    if visit.operator.may((SCOPE,)):
        database = await visit.database()
        rows = await _readers(database.pool).list_own(visit.operator.client, below=None, limit=_PAGE)
        own = Half({"items": rows[:_PAGE]})
    if visit.mail_access.may(SCOPE):
        mail = await visit.mail_half("/v1/webhooks", params={"limit": str(_PAGE)})
    elif visit.mail_access.fault:
        mail = Half(fault=visit.mail_access.fault)
    return visit.page("webhooks.html", halves=(("signup", own), ("mail", mail)))


async def show_own(visit: Visit) -> Response:
    _refuse_without_scope(visit)
    database = await visit.database()
    subscriber = await _own(visit, _readers(database.pool))
    states, events = visit.query.choices("state", STATES), visit.query.choices("event", subscriber["events"])
    span = Span(visit.query.time("after"), visit.query.time("before"))
    wanted = Wanted(states or STATES, events or subscriber["events"], span, visit.query.cursor())
    rows = await WebhookDeliveries(database.pool, 0).page(subscriber["id"], wanted, limit=_PAGE)
    next_cursor = cursor_of(rows[_PAGE - 1]["id"]) if len(rows) > _PAGE else None
    return _page(visit, "signup", subscriber, {"items": rows[:_PAGE], "next_cursor": next_cursor})


async def show_of_mail(visit: Visit) -> Response:
    subscriber_id = visit.id("subscriber_id")
    subscriber = await visit.ask_mail("GET", f"/v1/webhooks/{subscriber_id}")
    states, events = visit.query.choices("state", STATES), visit.query.choices("event", subscriber["events"])
    params: dict[str, Any] = {"limit": str(_PAGE), "state": states, "event": events}
    params |= {name: at.isoformat() for name in ("after", "before") if (at := visit.query.time(name))}
    if cursor := visit.query.text("cursor", longest=200):
        params["cursor"] = cursor
    params = {name: value for name, value in params.items() if value}
    found = await visit.ask_mail("GET", f"/v1/webhooks/{subscriber_id}/deliveries", params=params)
    return _page(visit, "mail", subscriber, found)


def _page(visit: Visit, service: str, subscriber: Mapping[str, Any] | Record, found: Mapping[str, Any]) -> Response:
    return visit.page(
        "webhook.html",
        service=service,
        subscriber=subscriber,
        path=f"{_PATH}/{service}/{subscriber['id']}",
        found=found,
        states=STATES,
        wanted={
            "state": visit.query.texts("state"),
            "event": visit.query.texts("event"),
            "after": visit.query.text("after"),
            "before": visit.query.text("before"),
            "cursor": visit.query.text("cursor", longest=200),
        },
    )


async def replay_own(visit: Visit) -> Response:
    _refuse_without_scope(visit)
    webhooks = visit.tools.webhooks
    subscriber = await _own(visit, webhooks.subscribers)
    begins, ends, events = _replayed(visit, subscriber["events"])
    if subscriber["disabled_at"]:
        raise SubscriberDisabled("Enable the subscriber first: nothing is delivered to a disabled one.")
    counted = await webhooks.deliveries.replay(
        subscriber, Span(begins, ends), events or list(subscriber["events"]), actor=visit.actor
    )
    if webhooks.on_replay:
        webhooks.on_replay()
    return visit.done(f"{_PATH}/signup/{subscriber['id']}", f"Delivered again: {counted.replayed}.")


async def replay_of_mail(visit: Visit) -> Response:
    subscriber_id = visit.id("subscriber_id")
    begins, ends, events = _replayed(visit, None)
    body: dict[str, Any] = {"from": begins.isoformat()}
    body |= {"to": ends.isoformat()} if ends else {}
    body |= {"events": events} if events else {}
    answer = await visit.ask_mail("POST", f"/v1/webhooks/{subscriber_id}/replay", body=body)
    more = " and more" if answer["more"] else ""
    return visit.done(f"{_PATH}/mail/{subscriber_id}", f"Delivered again: {answer['replayed']}{more}.")


def _replayed(visit: Visit, allowed: list[str] | None) -> tuple[datetime, datetime | None, list[str]]:
    begins, ends = visit.form.time("from"), visit.form.time("to")
    if begins is None:
        raise wrong("from", "Must be filled in")
    if ends is not None and ends <= begins:
        raise wrong("to", "Must be later than the other time")
    events = visit.form.texts("event") if allowed is None else visit.form.choices("event", allowed)
    return begins, ends, events


async def enable_own(visit: Visit) -> Response:
    _refuse_without_scope(visit)
    subscriber_id = visit.id("subscriber_id")
    row = await visit.tools.webhooks.subscribers.enable(visit.operator.client, subscriber_id, visit.actor)
    if row is None:
        raise _unknown()
    return visit.done(f"{_PATH}/signup/{subscriber_id}", "The subscriber gets events again, from now on.")


async def enable_of_mail(visit: Visit) -> Response:
    subscriber_id = visit.id("subscriber_id")
    await visit.ask_mail("POST", f"/v1/webhooks/{subscriber_id}/enable")
    return visit.done(f"{_PATH}/mail/{subscriber_id}", "The subscriber gets events again, from now on.")


def _refuse_without_scope(visit: Visit) -> None:
    """The room is open to operators of either service."""
    if not visit.operator.may((SCOPE,)):
        raise Forbidden(f"This needs a key of signup with `{SCOPE}`.")


def _readers(pool: Any) -> Subscribers:
    """Subscribers as they are read, without the keys that would make a secret."""
    return Subscribers(pool, None, setting="SIGNUP_TOKEN_KEYS")


async def _own(visit: Visit, subscribers: Subscribers) -> Record:
    row = await subscribers.find(visit.operator.client, visit.id("subscriber_id"))
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound("Your client has no subscriber with this ID.")
