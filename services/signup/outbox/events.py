"""What happens to people, as effects and subscribers know it. The same words stand in history and in webhooks."""

import enum


class Event(enum.StrEnum):
    SIGNED_UP = "user.signed_up"
    # Somebody signed up once more: what is known of the pending may be another. Without a key it happens to the
    # verified too, so that such a signup is as much work as any.
    SIGNED_UP_AGAIN = "user.signed_up_again"
    IMPORTED = "user.imported"
    VERIFIED = "user.verified"
    ERASED = "user.erased"


# What others may subscribe to.
WEBHOOK_EVENTS = (Event.SIGNED_UP, Event.IMPORTED, Event.VERIFIED, Event.ERASED)
