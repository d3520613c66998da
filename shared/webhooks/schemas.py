"""Requests and answers of /v1/webhooks. The names of the events are the service's: `OneOf` checks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from ..contract.fields import Strict, misplaced
from ..contract.ids import UUID
from ..contract.network import is_public, read_address
from ..contract.problems import InvalidRequest
from ..contract.timestamps import Timestamp

_URL = TypeAdapter(AnyHttpUrl)
MAX_URL_LENGTH = 2000

DeliveryState = Literal["pending", "delivered", "dead", "canceled"]
STATES: tuple[DeliveryState, ...] = ("pending", "delivered", "dead", "canceled")


@dataclass(frozen=True)
class OneOf:
    """A string that is one of `names`; OpenAPI shows them."""

    names: Sequence[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


def _readable_url(text: str) -> str:
    """The normalized URL: an A-label host, a path. Whether the host is allowed is checked here and at each delivery."""
    try:
        url = _URL.validate_python(text)
    except ValidationError:
        raise ValueError("Must be an http or https URL") from None
    if url.username or url.password:
        raise ValueError("Must not contain credentials")
    if url.fragment is not None:
        raise ValueError("Must not contain a fragment")
    if len(str(url)) > MAX_URL_LENGTH:
        raise ValueError(f"Must be at most {MAX_URL_LENGTH} characters long")
    return str(url)


def refuse_private(url: str) -> None:
    """Refuse what is private without a DNS lookup. Each delivery checks the resolved address."""
    parsed = _URL.validate_python(url)
    detail = "Must be an https URL" if parsed.scheme != "https" else ""
    try:
        if not is_public(read_address((parsed.host or "").strip("[]"))):
            detail = "Must be at a public address"
    except ValueError:  # a host name
        if parsed.host == "localhost" or (parsed.host or "").endswith(".localhost"):
            detail = "Must be at a public address"
    if detail:
        raise InvalidRequest(f"/url: {detail}", errors=[{"pointer": "/url", "detail": detail}])


class SubscriberUrl(Strict):
    url: Annotated[str, Field(max_length=MAX_URL_LENGTH), AfterValidator(_readable_url)] = Field(
        description="https, at a public address, without credentials", json_schema_extra={"format": "uri"}
    )


class ReplaySpan(Strict):
    from_: Timestamp = Field(alias="from", description="Events since then, in their order, with the same `webhook-id`")
    to: Timestamp | None = Field(None, description="Only events before then; null: all that were handed over so far")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.to is not None and self.to <= self.from_:
            raise misplaced("to", "Must be later than `from`")
        return self


class Subscriber(BaseModel):
    """A subscriber to events."""

    id: UUID
    """The ID of the subscriber."""
    url: str
    """Where its events are posted."""
    events: list[str]
    """The events that it gets."""
    created_at: datetime
    """When it was created: it gets events from then on."""
    rotated_at: datetime | None
    """When its secret was last replaced; null: never. For a day after that, both secrets sign."""
    disabled_at: datetime | None
    """When it was disabled; null: it is enabled."""
    disabled_reason: str | None
    """Why it was disabled."""


class SubscriberWithSecret(Subscriber):
    """A subscriber with the secret that signs its events: it is shown in this answer alone."""

    secret: str = Field(description="`whsec_…` (Standard Webhooks); shown this once")


class SubscriberPage(BaseModel):
    """A page of subscribers."""

    items: list[Subscriber]
    next_cursor: str | None


class Delivery(BaseModel):
    """An event for a subscriber: sent, waiting, or given up."""

    id: UUID = Field(description="The `webhook-id`")
    event: str
    """The name of the event."""
    subject_id: UUID | None = Field(description="What the event is about: the user, or the mail")
    state: DeliveryState
    """`pending` waits or is retried, `delivered` was answered with 2xx, `dead` was given up, `canceled` is not sent."""
    attempts: int
    """Attempts that count. Probes of a subscriber that is down do not."""
    last_status: int | None = Field(description="The subscriber's last answer, if it gave one")
    last_error: str | None
    """Why the last attempt failed; null: it did not."""
    created_at: datetime = Field(description="When the event happened")
    delivered_at: datetime | None
    """When the subscriber answered with 2xx."""
    due_at: datetime | None = Field(description="The next attempt, while it is `pending`")


class DeliveryPage(BaseModel):
    """A page of a subscriber's deliveries."""

    items: list[Delivery]
    next_cursor: str | None


class Replayed(BaseModel):
    """How much is delivered again."""

    replayed: int = Field(description="Events that are delivered again")
    more: bool = Field(description="There are more than were counted; they are delivered, too")
