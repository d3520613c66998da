"""What happens to people, as effects and subscribers know it. The same words stand in history and in webhooks."""

import enum


class Event(enum.StrEnum):
    SIGNED_UP = "user.signed_up"
    # A pending person signed up once more: what is known of them may be another.
    SIGNED_UP_AGAIN = "user.signed_up_again"
    IMPORTED = "user.imported"
    VERIFIED = "user.verified"
    ERASED = "user.erased"


# What others may subscribe to.
WEBHOOK_EVENTS = (Event.SIGNED_UP, Event.IMPORTED, Event.VERIFIED, Event.ERASED)
