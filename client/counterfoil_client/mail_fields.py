"""What a mail consists of, as callers give it, and as the service reads it."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

from .request_ids import checked


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person with a name. Where no name is needed, the address alone will do."""

    email: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file. With `content_id` it is an inline image, which the HTML shows as `cid:CONTENT_ID`."""

    filename: str
    content: bytes = field(repr=False)
    content_type: str
    content_id: str | None = None


class MailFields(TypedDict, total=False):
    """Give `template` with `variables`, or `subject` with `text`. None counts as not given."""

    to: Required[str | Recipient]
    template: str | None
    variables: Mapping[str, Any] | None
    locale: str | None
    subject: str | None
    text: str | None
    html: str | None
    from_: str | Recipient | None
    reply_to: str | Recipient | None
    headers: Mapping[str, str] | None
    attachments: Iterable[Attachment] | None
    tags: Iterable[str] | None
    metadata: Mapping[str, Any] | None
    send_at: datetime | None
    expires_at: datetime | None
    on_uncertain: Literal["hold", "resend"] | None
    lane: Literal["live", "bulk"] | None
    # Not part of the content: the service keeps those of the first request.
    correlation_id: str | None
    traceparent: str | None


class NewMail(MailFields):
    """A mail for `send_batch`."""

    request_id: Required[str]


class MailFilters(TypedDict, total=False):
    """The filters of `GET /v1/mails`. Different ones combine with AND; the values of a sequence with OR."""

    request_id: str | Iterable[str]
    to: str | Iterable[str]
    state: str | Iterable[str]
    template: str | Iterable[str]
    client: str | Iterable[str]
    tag: str | Iterable[str]
    metadata: Mapping[str, str]
    accepted_after: datetime
    accepted_before: datetime
    sent_after: datetime
    sent_before: datetime


def encoded_mail(request_id: str, fields: Mapping[str, Any]) -> bytes:
    """The mail as a JSON object.

    Raises:
        BadRequestId: the service would refuse it.
        TypeError: a field is missing, or there is no such field.
        ValueError: a value that JSON has no way to write.
    """
    if unknown := fields.keys() - MailFields.__annotations__.keys():
        raise TypeError(f"A mail has no field {', '.join(map(repr, sorted(unknown)))}")
    if fields.get("to") is None:
        raise TypeError("A mail needs `to`")
    members = {"request_id": checked(request_id)}
    for name, value in fields.items():
        if value is not None:
            members[name.rstrip("_")] = _member(name, value)
    return encoded(members)


def encoded(members: object) -> bytes:
    """JSON. Raises ValueError for what it cannot hold, and TypeError for what it does not know."""
    return json.dumps(members, default=_plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def query(filters: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Filters as parameters of a URL: `metadata` as `metadata.KEY`, and one for each value of a sequence."""
    pairs = []
    for name, value in filters.items():
        if isinstance(value, Mapping):
            pairs += [(f"{name}.{key}", str(each)) for key, each in value.items()]
        elif isinstance(value, str):
            pairs.append((name, value))
        elif isinstance(value, datetime):
            pairs.append((name, value.isoformat()))
        elif isinstance(value, Iterable):
            pairs += [(name, str(each)) for each in value]
    return tuple(pairs)


def _member(name: str, value: Any) -> Any:
    if name == "to":
        return _person(Recipient(value) if isinstance(value, str) else value)
    if name in {"from_", "reply_to"} and not isinstance(value, str):
        return _person(value)
    if name == "attachments":
        return [_file(attachment) for attachment in value]
    return list(value) if name == "tags" else value


def _person(person: Recipient) -> dict[str, str]:
    return {"email": person.email} | ({} if person.name is None else {"name": person.name})


def _file(file: Attachment) -> dict[str, str]:
    members = {
        "filename": file.filename,
        "content_type": file.content_type,
        "content": base64.b64encode(file.content).decode(),
    }
    return members | ({} if file.content_id is None else {"content_id": file.content_id})


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"JSON has no way to write a value of type {type(value).__name__}")
