"""What the documents say of /v1/webhooks, for a service with its own events. Imported when a document is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..http.document.story import CURSOR, LATER, SUBSCRIBER
from ..http.document.teaching import About, To

TAG = (
    "Subscribers to events, as [Standard Webhooks](https://www.standardwebhooks.com) says; what they get is below "
    "`webhooks` in this document. Scope `webhooks:manage`."
)

PARAMETERS: Mapping[str, About] = {
    "subscriber_id": About("The ID of the subscriber", SUBSCRIBER),
    "list_webhook_deliveries.state": About("Deliveries in this state; repeated: in any of them", ["dead"]),
    "list_webhook_deliveries.event": About("Deliveries of this event; repeated: of any of them"),
    "list_webhook_deliveries.after": About("Events at or after this time", "2026-06-26T09:00:00Z"),
    "list_webhook_deliveries.before": About("Events before this time", "2026-06-26T10:00:00Z"),
}


def _links(place: str) -> tuple[To, ...]:
    own = {"subscriber_id": place}
    return (
        To("get_webhook", "The subscriber", own),
        To("list_webhook_deliveries", "What was sent to it, and what waits", own),
        To("replay_webhook", "Deliver its events again", own, {"from": LATER}),
        To("rotate_webhook_secret", "A new secret", own),
        To("enable_webhook", "Enable it again after it answered 410", own),
        To("delete_webhook", "Delete it", own),
    )


LINKS: Mapping[str, Sequence[To]] = {
    "Subscriber": _links("$response.body#/id"),
    "SubscriberWithSecret": _links("$response.body#/id"),
    "SubscriberPage": _links("$response.body#/items/0/id"),
    "Replayed": (
        To("list_webhook_deliveries", "What is delivered again", {"subscriber_id": "$request.path.subscriber_id"}),
    ),
}  # fmt: skip


def examples(events: Sequence[str], delivery: Mapping[str, Any]) -> dict[str, Any]:
    """`events` that the subscriber of the story gets, and one `delivery` of the first of them."""
    subscriber = {
        "id": SUBSCRIBER,
        "url": "https://shop.example.com/hooks/counterfoil",
        "events": list(events),
        "created_at": "2026-06-25T09:20:00.000000Z",
        "rotated_at": None,
        "disabled_at": None,
        "disabled_reason": None,
    }
    return {
        "NewSubscriber": {"url": subscriber["url"], "events": list(events)},
        "Subscriber": subscriber,
        "SubscriberWithSecret": {**subscriber, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw0000000000M="},
        "SubscriberPage": {"items": [subscriber], "next_cursor": None},
        "DeliveryPage": {
            "items": [
                {
                    **delivery,
                    "event": events[0],
                    "state": "delivered",
                    "attempts": 1,
                    "last_status": 204,
                    "last_error": None,
                    "due_at": None,
                }
            ],
            "next_cursor": CURSOR,
        },
        "Replay": {"from": "2026-06-26T09:00:00Z", "events": [events[0]]},
        "Replayed": {"replayed": 1742, "more": False},
    }
