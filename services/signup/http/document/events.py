"""The webhooks of signup: when each event comes, and its body."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from shared.contract.ids import UUID
from shared.http.document.story import LATER, SIGNED_UP_AT, USER, VERIFIED_AT
from shared.http.document.teaching import Event


class UserEventData(BaseModel):
    """Whom the event is about. It holds nothing personal: read GET /v1/users/{id}."""

    id: UUID
    """The ID of the user."""


class UserEvent(BaseModel):
    """The body of a webhook of signup."""

    type: Literal["user.signed_up", "user.imported", "user.verified", "user.erased"]
    """The name of the event."""
    timestamp: datetime
    """When it happened."""
    data: UserEventData
    """Whom it is about."""


def _event(when: str, at: str) -> Event:
    return Event(when, UserEvent, {"timestamp": at, "data": {"id": USER}})


EVENTS = {
    "user.signed_up": _event("A person signed up", SIGNED_UP_AT),
    "user.imported": _event("An import made a user", SIGNED_UP_AT),
    "user.verified": _event("A user's address was verified", VERIFIED_AT),
    "user.erased": _event("A user was erased", LATER),
}
