"""Reads problems (RFC 9457) from answers. A body that is none, from a proxy, becomes one by its status."""

import email.utils
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from typing import Any, Literal

from .steps import Answer

_TYPE_PREFIX = "/problems/"
_READ = frozenset({"type", "title", "status", "detail", "request_id", "errors"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: where, and what is needed there. It never repeats the value."""

    kind: Literal["pointer", "parameter", "header"]
    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    status: int
    slug: str = ""
    title: str = ""
    detail: str = ""
    # The correlation ID of the request, not the ID of a mail.
    request_id: str | None = None
    errors: tuple[FieldError, ...] = ()
    # Members that only some problems have, like the `allowed` states of `wrong-state`.
    members: Mapping[str, Any] = field(default_factory=dict)
    retry_after_seconds: float | None = None

    @classmethod
    def of_answer(cls, answer: Answer, now: float) -> "Problem":
        """`now` is the time in seconds since 1970, for a Retry-After that is a date."""
        wait = retry_after(answer.headers, now)
        try:
            members = json.loads(answer.body)
        except ValueError:
            members = None
        return cls.of_members(members if isinstance(members, dict) else {}, answer.status, wait)

    @classmethod
    def of_members(cls, members: Mapping[str, Any], status: int, wait: float | None = None) -> "Problem":
        """`status` is for a problem that names none."""
        kind = str(members.get("type") or "")
        known = members.get("status", status)
        title = members.get("title") or _phrase(status)
        listed = members.get("errors")
        return cls(
            known if isinstance(known, int) else status,
            kind.rpartition(_TYPE_PREFIX)[2] if _TYPE_PREFIX in kind else "",
            str(title),
            str(members.get("detail") or title),
            members.get("request_id"),
            tuple(_field_error(entry) for entry in listed if isinstance(entry, dict)) if listed else (),
            {name: value for name, value in members.items() if name not in _READ},
            wait,
        )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that `Retry-After` asks for (RFC 9110 section 10.2.3), or None.

    A date is compared with the answer's own `Date`, so that the two clocks need not agree; without one, with `now`.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    until = timestamp(text)
    if until is None:
        return None
    return max(0.0, until - (timestamp(headers.get("date", "")) or now))


def timestamp(text: str) -> float | None:
    """A date of HTTP in seconds since 1970, or None when it is none."""
    try:
        parsed = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    detail = str(entry.get("detail", ""))
    if "parameter" in entry:
        return FieldError("parameter", str(entry["parameter"]), detail)
    if "header" in entry:
        return FieldError("header", str(entry["header"]), detail)
    return FieldError("pointer", str(entry.get("pointer", "")), detail)
