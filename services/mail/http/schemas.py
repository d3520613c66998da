"""Models of the mail API's requests and answers. The OpenAPI document is generated from them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from shared.contract.fields import RequestId, Strict
from shared.contract.ids import UUID
from shared.contract.mails import MAX_BATCH, MAX_LOOKUP
from shared.http.openapi import ProblemDocument

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
            json_schema_extra={
                "items": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/MailRequest"},
                        {"description": "Anything else: it is answered as `rejected`"},
                    ]
                }
            },
        ),
    ]
    """1 to 500 mails, each as for POST /v1/mails, with its `request_id`."""


class Lookup(Strict):
    """Which mails to look up."""

    request_ids: Annotated[list[RequestId], Field(min_length=1, max_length=MAX_LOOKUP)]
    """1 to 1,000 request IDs."""
    client: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="Client to search, for keys with `mails:all`. Default: all clients, the key's own first."
    )


class Person(BaseModel):
    """A recipient as it is on record."""

    email: str | None
    """The address, normalized, with a Unicode domain; null once erased."""
    name: str | None
    """The name beside it; null: none, or erased."""


class Failure(BaseModel):
    """The last outcome other than acceptance, with the gateway's reply."""

    reason: str
    """Why, in a few words of ours."""
    code: int | None
    """The gateway's SMTP reply code, like 450; null: it gave none."""
    enhanced_code: str | None
    """The enhanced status code (RFC 3463), like `4.2.2`; null: it gave none."""
    reply: str | None
    """The gateway's reply; null: it gave none, or wiped."""


class Mail(BaseModel):
    """A mail as it is now."""

    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    """The ID of the mail, a UUIDv7."""
    request_id: str
    """The request ID that it was requested with: one mail per client and request ID, for ever."""
    client: str
    """The client that requested it."""
    state: State
    """Where it is: see docs/states.md. `sent` means that a gateway said 250; `uncertain` that it cannot be known."""
    to: Person
    """Its recipient."""
    from_: str | None = Field(alias="from")
    """The address that it is sent from; null once wiped."""
    subject: str | None
    """The subject; null once wiped."""
    template: str | None
    """The template that it was made from; null: it came with its own text."""
    template_version: str | None
    """The version of that template."""
    locale: str | None
    """The language of that template."""
    tags: list[str]
    """The tags that were given."""
    metadata: dict[str, JsonValue]
    """The metadata that was given."""
    on_uncertain: Literal["hold", "resend"]
    """What happens when it cannot be known whether it left: `hold` asks a person, `resend` risks a second copy."""
    lane: Literal["live", "bulk"]
    """`live` goes before `bulk`."""
    attempts: int
    """Verdicts on the mail so far. Faults of a gateway do not count."""
    gateway: str | None
    """The gateway that tried it last; null: none yet."""
    message_id: str
    """Its Message-ID, with angle brackets; the same in every attempt."""
    accepted_at: datetime
    """When the service accepted it."""
    send_at: datetime | None
    """It is not sent before this time; null: at once."""
    sent_at: datetime | None
    """When a gateway said 250; null: not yet."""
    next_attempt_at: datetime | None
    """When it is tried next; null: it does not wait."""
    expires_at: datetime
    """When it is given up if it waits until then."""
    failure: Failure | None
    """The last outcome that was no acceptance; null: none, or sent since."""
    restored: bool
    """Whether it was written back by POST /v1/mails/restore."""
    fingerprint: str = Field(description="SHA-256 of the canonical content, hexadecimal")
    content: dict[str, Any] | None = Field(None, description="Only with `include=content`; null once it is wiped")


class BatchItem(BaseModel):
    """The result of one mail of a batch."""

    request_id: str | None
    """The request ID of the item; null when it has none that can be read."""
    outcome: Literal["accepted", "replayed", "rejected"]
    """`accepted` is new, `replayed` was known, `rejected` is refused: see `problem`."""
    mail: Mail | None = None
    """The mail in its current state; null when it was rejected."""
    problem: ProblemDocument | None = None
    """Why it was rejected; null when it was not."""


class BatchResults(BaseModel):
    """The result of each mail, in the order given."""

    results: list[BatchItem]
    """One result for each item, in the order given."""


class LostMail(BaseModel):
    """What is kept of a mail whose row was deleted from the ledger."""

    request_id: str
    """The request ID that it was requested with."""
    client: str
    """The client that requested it."""
    mail_id: UUID
    """The ID that the mail had."""
    state: State
    """The last state on record."""
    message_id: str
    """Its Message-ID, with angle brackets."""
    fingerprint: str
    """SHA-256 of the canonical content, hexadecimal."""
    accepted_at: datetime
    """When the service accepted it."""
    sent_at: datetime | None
    """When a gateway said 250. Do not send a mail again that has one."""
    lost_at: datetime
    """When its row was deleted."""


class LookupResult(BaseModel):
    """What is known of the request IDs."""

    found: dict[str, Mail]
    """Each known mail, by its request ID."""
    missing: list[str]
    """The request IDs that are not known."""
    lost: dict[str, LostMail] = Field(
        default_factory=dict, description="Missing mails whose row was deleted. Left out when empty"
    )


class MailPage(BaseModel):
    """A page of mails."""

    items: list[Mail]
    next_cursor: str | None


class Attempt(BaseModel):
    """One attempt to hand the mail to a gateway."""

    n: int
    """The number of the attempt, from 1."""
    gateway: str | None
    """The gateway that was tried; null: none yet."""
    phase: Literal["claimed", "transmitting", "ended"]
    """`claimed`, `transmitting` once the body may have left, or `ended`."""
    outcome: Literal["accepted", "refused", "try_later", "unknown", "gateway_fault"] | None
    """How it ended; null: it has not."""
    counted: bool
    """Whether it is one of the mail's `attempts`."""
    claimed_at: datetime
    """When a worker took the mail."""
    transmitting_at: datetime | None
    """When the body was about to leave; null: it did not come to that."""
    ended_at: datetime | None
    """When it ended; null: it has not."""
    reason: str | None = Field(description="Why it was not accepted, in our words; `reply` is the gateway's text")
    code: int | None
    """The gateway's SMTP reply code; null: it gave none."""
    enhanced_code: str | None
    """The enhanced status code (RFC 3463); null: it gave none."""
    reply: str | None
    """The gateway's reply in full; null: it gave none, or wiped."""
    idempotency_header: str | None = Field(
        description="The header line by which the gateway deduplicates; null: it does not, or the body did not leave"
    )
    ask_until: datetime | None = Field(
        description="If the outcome is unknown, the gateway is asked again until then, with the same header"
    )


class AttemptPage(BaseModel):
    """A page of attempts."""

    items: list[Attempt]
    next_cursor: str | None
