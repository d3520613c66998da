"""What happens to users, as effects and subscribers see it. History and webhooks use the same names."""

import enum


class Event(enum.StrEnum):
    SIGNED_UP = "user.signed_up"
    # A repeated signup: a pending user's data may have changed. A verified user's signup without a key raises it too,
    # so that it is as much work as any other.
    SIGNED_UP_AGAIN = "user.signed_up_again"
    IMPORTED = "user.imported"
    VERIFIED = "user.verified"
    ERASED = "user.erased"


# The events that clients can subscribe to.
WEBHOOK_EVENTS = (Event.SIGNED_UP, Event.IMPORTED, Event.VERIFIED, Event.ERASED)
