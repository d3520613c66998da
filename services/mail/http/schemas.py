"""Models of the mail API's requests and answers. The OpenAPI document is generated from them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from shared.contract.fields import RequestId, Strict
from shared.contract.ids import UUID
from shared.contract.mails import MAX_BATCH, MAX_LOOKUP
from shared.http.openapi import ProblemDocument
from shared.http.operations_routes import HistoryEntry

State = Literal[
    "queued", "sending", "deferred", "sent", "bounced", "uncertain", "failed", "canceled", "expired", "suppressed"
]


class Batch(Strict):
    """Up to 500 mails. Each is judged alone, so an invalid item affects only itself."""

    # Validated later, one by one: an invalid item must not reject the others.
    mails: Annotated[
        list[JsonValue],
        Field(
            min_length=1,
            max_length=MAX_BATCH,
            # Anything else is answered as `rejected`, in its place.
            json_schema_extra={"items": {"anyOf": [{"$ref": "#/components/schemas/MailRequest"}, {}]}},
        ),
    ]


class Lookup(Strict):
    request_ids: Annotated[list[RequestId], Field(min_length=1, max_length=MAX_LOOKUP)]
    client: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="Client to search, for keys with `mails:all`. Default: all clients, the key's own first."
    )


class Person(BaseModel):
    email: str | None
    name: str | None


class Failure(BaseModel):
    """The last outcome other than acceptance, with the gateway's reply."""

    reason: str
    code: int | None
    enhanced_code: str | None
    reply: str | None


class Mail(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    request_id: str
    client: str
    state: State
    to: Person
    from_: str | None = Field(alias="from")
    subject: str | None
    template: str | None
    template_version: str | None
    locale: str | None
    tags: list[str]
    metadata: dict[str, JsonValue]
    on_uncertain: Literal["hold", "resend"]
    lane: Literal["live", "bulk"]
    attempts: int
    gateway: str | None
    message_id: str
    accepted_at: datetime
    send_at: datetime | None
    sent_at: datetime | None
    next_attempt_at: datetime | None
    expires_at: datetime
    failure: Failure | None
    restored: bool
    fingerprint: str = Field(description="SHA-256 of the canonical content, hexadecimal")
    content: dict[str, Any] | None = Field(None, description="Only with `include=content`; null once it is wiped")


class BatchItem(BaseModel):
    request_id: str | None
    outcome: Literal["accepted", "replayed", "rejected"]
    mail: Mail | None = None
    problem: ProblemDocument | None = None


class BatchResults(BaseModel):
    results: list[BatchItem]


class LostMail(BaseModel):
    """What is kept of a mail whose row was deleted from the ledger."""

    request_id: str
    client: str
    mail_id: UUID
    state: State
    message_id: str
    fingerprint: str
    accepted_at: datetime
    sent_at: datetime | None
    lost_at: datetime


class LookupResult(BaseModel):
    found: dict[str, Mail]
    missing: list[str]
    lost: dict[str, LostMail] = Field(
        default_factory=dict, description="Missing mails whose row was deleted. Left out when empty"
    )


class MailPage(BaseModel):
    items: list[Mail]
    next_cursor: str | None


class HistoryPage(BaseModel):
    items: list[HistoryEntry]
    next_cursor: str | None


class Attempt(BaseModel):
    n: int
    gateway: str | None
    phase: Literal["claimed", "transmitting", "ended"]
    outcome: Literal["accepted", "refused", "try_later", "unknown", "gateway_fault"] | None
    counted: bool
    claimed_at: datetime
    transmitting_at: datetime | None
    ended_at: datetime | None
    reason: str | None = Field(description="Why it was not accepted, in our words; `reply` is the gateway's text")
    code: int | None
    enhanced_code: str | None
    reply: str | None
    idempotency_header: str | None = Field(
        description="The header line by which the gateway deduplicates; null: it does not, or the body did not leave"
    )
    ask_until: datetime | None = Field(
        description="If the outcome is unknown, the gateway is asked again until then, with the same header"
    )


class AttemptPage(BaseModel):
    items: list[Attempt]
    next_cursor: str | None
