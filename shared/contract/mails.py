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
    template: TemplateName | None = None
    variables: Metadata | None = None
    locale: Locale | None = None
    subject: Annotated[Line, Field(min_length=1, max_length=500)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    html: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    from_: Recipient | None = Field(
        None, alias="from", description="At a domain that the client may send from. Default: the service's own sender."
    )
    reply_to: Recipient | None = None
    headers: (
        Annotated[
            dict[str, Annotated[Line, Field(max_length=900)]], Field(max_length=20), AfterValidator(custom_headers)
        ]
        | None
    ) = None
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] | None = None
    tags: Annotated[list[Tag], Field(max_length=20)] | None = None
    metadata: Metadata | None = None
    send_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    on_uncertain: OnUncertain | None = None
    lane: Lane | None = None
    correlation_id: Annotated[str, Spelled("[!-~]{1,128}", _CORRELATION_ID)] | None = None
    traceparent: Annotated[str, AfterValidator(_traceparent)] | None = None

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
