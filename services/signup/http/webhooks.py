"""/v1/webhooks: subscribers to user events."""

from shared.webhooks.routes import webhook_router

from ..outbox.events import WEBHOOK_EVENTS

router = webhook_router(WEBHOOK_EVENTS)
