"""The wire between signup and mail, version 1: the models that one side writes and the other reads.

Unknown fields are refused, so a misspelt one can never be dropped silently.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from .addresses import is_plain_text, parse_address
from .correlation import is_traceparent
from .moments import Moment

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_BATCH = 500
MAX_LOOKUP = 1000

# What may stand in a header name (RFC 5322 section 2.2); `EmailMessage` would take CR and LF here.
_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
# Headers that the mail service or the transport writes.
_RESERVED_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "sender",
        "reply-to",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "return-path",
        "received",
        "auto-submitted",
        "dkim-signature",
        "arc-seal",
        "resent-from",
        "resent-to",
        "resent-date",
        "errors-to",
    ]
)
# URLs in angle brackets (RFC 2369); programs read them, so they travel as they are.
_HEADERS_OF_URLS = frozenset(
    ["list-help", "list-unsubscribe", "list-subscribe", "list-post", "list-owner", "list-archive"]
)
_URLS = re.compile(r"<[a-z][a-z0-9+.-]*:[!-;=?-~]+>(, *<[a-z][a-z0-9+.-]*:[!-;=?-~]+>)*", re.IGNORECASE)
_ONE_CLICK = "list-unsubscribe-post"
_METADATA_MAX_BYTES = 4096
# orjson writes 254 levels at most. What is taken must also fit into a list of users or a mail with its content,
# or one person's metadata would turn every answer that shows it into a 500.
_METADATA_MAX_LEVELS = 64
# An escape counts if the backslashes before it are pairs: the text `\\u0000` is no NUL.
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def plain_text(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("Must not contain control characters or line breaks")
    return text


def storable_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("Must not contain NUL characters")
    return text


def normalised_email(text: str) -> str:
    return parse_address(text).email


def misplaced(field: str, sentence: str) -> PydanticCustomError:
    """What the validator of a whole body raises, so that the problem points at a field (handlers.as_problem_error)."""
    return PydanticCustomError("misplaced", sentence, {"field": field})


def _request_id(text: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", text):
        raise ValueError("Must be 1 to 255 printable ASCII characters")
    return text


def _locale(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}", text):
        raise ValueError("Must be a language tag like `en` or `de-AT` (BCP 47)")
    return text.replace("_", "-")


def _traceparent(text: str) -> str:
    if not is_traceparent(text):
        raise ValueError("Must be a W3C traceparent")
    return text


def shallow_json(value: Any) -> Any:
    """Runs before pydantic's own reading, whose limit is another and which points into nowhere then."""
    if _is_deeper_than(_METADATA_MAX_LEVELS, value):
        raise ValueError(f"Must be nested at most {_METADATA_MAX_LEVELS} levels deep")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper_than(levels - 1, item) for item in inside)


def storable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A JSON object that PostgreSQL's jsonb can hold, and that is small enough to keep beside a row."""
    import orjson  # noqa: PLC0415 - beside its only use

    try:
        encoded = orjson.dumps(value)
    except TypeError:
        raise ValueError("Numbers must fit into 64 bits, and keys must be strings") from None
    if len(encoded) > _METADATA_MAX_BYTES:
        raise ValueError(f"Must be at most {_METADATA_MAX_BYTES} bytes of JSON")
    if _NUL_IN_JSON.search(encoded):
        raise ValueError("Must not contain NUL characters")
    return value


def header_names(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not a header name")
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith(("content-", "x-counterfoil-")):
            raise ValueError(f"{name!r} is written by the mail service itself")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("Header names must differ in more than case")
    return headers


def is_of_urls(header_name: str) -> bool:
    """Whether a header holds URLs that programs read."""
    return header_name.lower() in _HEADERS_OF_URLS


def custom_headers(headers: dict[str, str]) -> dict[str, str]:
    """Headers that a mail may bring along: `header_names`, and what mailbox providers read can be read."""
    header_names(headers)
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in lower.items():
        if name in _HEADERS_OF_URLS and not _URLS.fullmatch(value) and (name, value) != ("list-post", "NO"):
            raise ValueError(f"{name} must be ASCII URLs in angle brackets with commas between them (RFC 2369)")
    if _ONE_CLICK in lower:
        if lower[_ONE_CLICK] != "List-Unsubscribe=One-Click":
            raise ValueError(f"{_ONE_CLICK} must be `List-Unsubscribe=One-Click` (RFC 8058)")
        if "<https:" not in lower.get("list-unsubscribe", "").lower():
            raise ValueError(f"{_ONE_CLICK} needs a List-Unsubscribe with an https URL (RFC 8058)")
    return headers


RequestId = Annotated[str, AfterValidator(_request_id)]
Email = Annotated[str, Field(max_length=320), AfterValidator(normalised_email)]
Line = Annotated[str, AfterValidator(plain_text)]
Text = Annotated[str, AfterValidator(storable_text)]
Locale = Annotated[str, Field(max_length=35), AfterValidator(_locale)]
Metadata = Annotated[dict[str, JsonValue], BeforeValidator(shallow_json), AfterValidator(storable_json)]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(plain_text)]
Lane = Literal["live", "bulk"]
OnUncertain = Literal["hold", "resend"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Recipient(Strict):
    email: Email
    name: Annotated[Line, Field(max_length=200)] | None = None


class MailRequest(Strict):
    """One mail to send, to one recipient: by template, or with its own subject and text."""

    request_id: RequestId | None = Field(None, description="May come in the Idempotency-Key header instead.")
    to: Recipient
    template: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None
    variables: Metadata | None = None
    locale: Locale | None = None
    subject: Annotated[Line, Field(min_length=1, max_length=500)] | None = None
    text: Annotated[Text, Field(min_length=1, max_length=500_000)] | None = None
    html: Annotated[Text, Field(min_length=1, max_length=500_000)] | None = None
    from_: Recipient | None = Field(None, alias="from")
    reply_to: Recipient | None = None
    headers: (
        Annotated[
            dict[str, Annotated[Line, Field(max_length=900)]],
            Field(max_length=20),
            AfterValidator(custom_headers),
        ]
        | None
    ) = None
    tags: Annotated[list[Tag], Field(max_length=20)] | None = None
    metadata: Metadata | None = None
    send_at: Moment | None = None
    expires_at: Moment | None = None
    on_uncertain: OnUncertain | None = None
    lane: Lane | None = None
    correlation_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")] | None = None
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
                raise misplaced(surplus, "`variables` and `locale` go with `template`")
        elif self.subject is not None or self.text is not None or self.html is not None:
            raise misplaced("template", "`template` and `subject`, `text` or `html` exclude each other")
        if self.send_at and self.expires_at and self.expires_at <= self.send_at:
            raise misplaced("expires_at", "`expires_at` must be later than `send_at`")
        return self

    def content(self) -> dict[str, Any]:
        """What the request asks for, canonically: without who caused it, defaults as if they had been sent."""
        content = self.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude={"request_id", "correlation_id", "traceparent"},
        )
        content.setdefault("lane", "live")
        return content


class MailProblem(BaseModel):
    """The part of a problem that a relay decides by."""

    model_config = ConfigDict(extra="ignore")

    type: str
    status: int
    title: str = ""
    detail: str = ""


class MailReceipt(BaseModel):
    """The part of a mail resource that its client keeps in its own book."""

    model_config = ConfigDict(extra="ignore")

    id: str
    state: str
    fingerprint: str | None = None


class BatchResult(BaseModel):
    """One entry of a batch answer, in the order asked."""

    model_config = ConfigDict(extra="ignore")

    request_id: str | None
    outcome: Literal["accepted", "replayed", "rejected"]
    mail: MailReceipt | None = None
    problem: MailProblem | None = None


class BatchAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    results: list[BatchResult]
