"""The wire format between signup and mail, version 1: one side writes these models, the other reads them.

Unknown fields are refused, so a misspelled one is never dropped silently.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .attachments import MAX_ATTACHMENTS, Attachment
from .correlation import is_traceparent
from .fields import Lane, Line, Locale, OnUncertain, Recipient, RequestId, Spelled, Strict, Tag, TemplateName, misplaced
from .mail_headers import custom_headers
from .metadata import Metadata
from .timestamps import Timestamp

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"

REPLAYED_HEADER = "Idempotent-Replayed"

MAX_BATCH = 500

MAX_LOOKUP = 1000

_CORRELATION_ID = "Must be 1 to 128 printable ASCII characters without spaces"


def _traceparent(text: str) -> str:
    if not is_traceparent(text):
        raise ValueError("Must be a W3C traceparent, like `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`")
    return text


class MailRequest(Strict):
    """One mail to send, to one recipient: by template, or with its own subject and text."""

    request_id: RequestId | None = Field(None, description="May come in the Idempotency-Key header instead.")
    to: Recipient
    """The recipient. A mail has exactly one."""
    template: TemplateName | None = None
    """Name of a template of GET /v1/templates, instead of `subject` and `text`."""
    variables: Metadata | None = None
    """Values for the template's variables, at most 4096 bytes of JSON."""
    locale: Locale | None = None
    """Language of the template, BCP 47; the nearest one that it has is used. Default: the template's own."""
    subject: Annotated[Line, Field(min_length=1, max_length=500)] | None = None
    """The subject, 1 to 500 characters on one line. Not with `template`."""
    text: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    """The plain text, 1 to 500,000 characters. Not with `template`."""
    html: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    """The HTML, 1 to 500,000 characters, beside `text`."""
    from_: Recipient | None = Field(
        None, alias="from", description="At a domain that the client may send from. Default: the service's own sender."
    )
    reply_to: Recipient | None = None
    """Where answers go."""
    headers: (
        Annotated[
            dict[str, Annotated[Line, Field(max_length=900)]], Field(max_length=20), AfterValidator(custom_headers)
        ]
        | None
    ) = None
    """Up to 20 headers of your own, each value at most 900 characters. Those that the service writes are refused."""
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] | None = None
    """Up to 20 files, together at most MAIL_ATTACHMENTS_MAX_BYTES (10 MiB unless set)."""
    tags: Annotated[list[Tag], Field(max_length=20)] | None = None
    """Up to 20 words to find mails by, each 1 to 64 characters."""
    metadata: Metadata | None = None
    """A JSON object of your own, at most 4096 bytes. Never sent; GET /v1/mails filters by it."""
    send_at: Timestamp | None = None
    """Not before this time. Default: now."""
    expires_at: Timestamp | None = None
    """Not after this time: the mail becomes `expired`. Default: the lifetime that the service sets."""
    on_uncertain: OnUncertain | None = None
    """When it cannot be known whether the mail left: `hold` asks a person, `resend` risks a second copy. Default: the
    template's own, else `hold`."""
    lane: Lane | None = None
    """`live` goes before `bulk`. Default: `live`."""
    correlation_id: Annotated[str, Spelled("[!-~]{1,128}", _CORRELATION_ID)] | None = None
    """As the header X-Request-ID, for one mail of a batch. Not part of the content."""
    traceparent: Annotated[str, AfterValidator(_traceparent)] | None = None
    """As the header `traceparent` (W3C), for one mail of a batch. Not part of the content."""

    @model_validator(mode="before")
    @classmethod
    def _addresses_may_be_strings(cls, data: Any) -> Any:
        """`from` and `reply_to` may be bare addresses."""
        if isinstance(data, dict):
            short = {key: {"email": data[key]} for key in ("from", "reply_to") if isinstance(data.get(key), str)}
            return {**data, **short} if short else data
        return data

    @model_validator(mode="after")
    def _either_template_or_text(self) -> Self:
        if self.template is None:
            if self.subject is None or self.text is None:
                missing = "subject" if self.subject is None else "text"
                raise misplaced(missing, "Give either `template` (with `variables`), or `subject` and `text`")
            if self.variables is not None or self.locale is not None:
                surplus = "variables" if self.variables is not None else "locale"
                raise misplaced(surplus, "`variables` and `locale` need a `template`")
        elif self.subject is not None or self.text is not None or self.html is not None:
            raise misplaced("template", "`template` cannot be combined with `subject`, `text` or `html`")
        if self.send_at and self.expires_at and self.expires_at <= self.send_at:
            raise misplaced("expires_at", "`expires_at` must be later than `send_at`")
        return self

    def content(self) -> dict[str, Any]:
        """The canonical content of the request: without correlation, with defaults as if they had been sent.

        Attachments are left out: the mail service describes them by their hashes.
        """
        content = self.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude={"request_id", "correlation_id", "traceparent", "attachments"},
        )
        content.setdefault("lane", "live")
        return content


class MailProblem(BaseModel):
    """The part of a problem that the relay acts on."""

    model_config = ConfigDict(extra="ignore")

    type: str
    status: int
    title: str = ""
    detail: str = ""


class MailReceipt(BaseModel):
    """The part of a mail that its client stores in its own ledger."""

    model_config = ConfigDict(extra="ignore")

    id: str
    state: str
    fingerprint: str | None = None


class BatchResult(BaseModel):
    """One entry of a batch answer, in request order."""

    model_config = ConfigDict(extra="ignore")

    request_id: str | None
    outcome: Literal["accepted", "replayed", "rejected"]
    mail: MailReceipt | None = None
    problem: MailProblem | None = None


class BatchAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    results: list[BatchResult]
