"""The events that clients can subscribe to. Each is a kind of history, and has its name."""

# Also `mail.sent`: an uncertain mail that was resolved as sent (`mail.resolved`). Kinds without an event are what the
# service does by itself (`mail.requeued`) and what was asked for (`mail.canceled`, `mail.erased`).
EVENTS = (
    "mail.sent",
    "mail.delivered",
    "mail.deferred",
    "mail.failed",
    "mail.bounced",
    "mail.complained",
    "mail.uncertain",
    "mail.suppressed",
    "mail.expired",
)
