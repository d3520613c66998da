"""/v1/webhooks: subscribers to what happens to a client's mails."""

from shared.webhooks.routes import webhook_router

from ..webhooks.events import EVENTS

router = webhook_router(EVENTS)
