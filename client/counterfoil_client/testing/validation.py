"""Which fields of a mail the service refuses, and its canonical content. The places are the service's; the sentences
and the finer points of addresses and headers are not.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from .replies import at, invalid

Fault = dict[str, str]
_Check = Callable[[Any, str], Iterator[Fault]]

# Control characters, line and paragraph separators, surrogates, and what overrides the reading direction.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a\u202b\u202d\u202e\u2066-\u2068]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_EMAIL = re.compile(r"[^\s@,;<>()\[\]\"\\]{1,64}@[^\s@,;<>()\[\]\"\\.]+(\.[^\s@,;<>()\[\]\"\\.]+)+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_HEADER_NAME = re.compile("[!-9;-~]{1,76}")
_RESERVED = re.compile(
    "(from|to|cc|bcc|sender|reply-to|subject|date|message-id|mime-version|return-path|received|auto-submitted|"
    "dkim-signature|arc-seal|resent-(from|sender|to|date)|errors-to|content-.*|x-counterfoil-.*)",
    re.IGNORECASE,
)
_MAX_JSON_BYTES = 4096


def checked_mail(body: Any) -> dict[str, Any]:
    """The mail, with its request ID. Raises Refusal, naming every field that is wrong."""
    if not isinstance(body, dict):
        raise invalid([at("", "Must be an object")])
    if faults := list(_unstorable(body, "")):
        raise invalid(faults)
    given = {name: value for name, value in body.items() if value is not None}
    if faults := list(_MAIL(given, "")) or list(_combination(given)):
        raise invalid(faults)
    return given


def content_of(mail: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two mails the same: without correlation, with defaults as if they had been given."""
    content = {name: value for name, value in mail.items() if name not in _NOT_CONTENT}
    content["to"] = _person(mail["to"])
    for name in {"from", "reply_to"} & content.keys():
        content[name] = _person(mail[name])
    for name in {"send_at", "expires_at"} & content.keys():
        content[name] = datetime.fromisoformat(mail[name]).astimezone(UTC).isoformat()
    if "locale" in content:
        content["locale"] = mail["locale"].replace("_", "-")
    return {"lane": "live", **content}


def address_key(email: str) -> str:
    """Equal for all spellings of one address."""
    local, _, domain = email.rpartition("@")
    with contextlib.suppress(UnicodeError):
        domain = domain.encode("ascii").decode("idna")
    return f"{local}@{domain}".lower()


def normalized(email: str) -> str:
    return email.rpartition("@")[0] + "@" + address_key(email).rpartition("@")[2]


_NOT_CONTENT = frozenset({"request_id", "correlation_id", "traceparent"})


def _person(person: Any) -> dict[str, str]:
    members = {"email": person} if isinstance(person, str) else person
    return {name: normalized(v) if name == "email" else v for name, v in members.items() if v is not None}


def _unstorable(value: Any, place: str) -> Iterator[Fault]:
    if isinstance(value, str) and _UNSTORABLE.search(value):
        yield at(place, "Must not contain NUL characters or unpaired surrogates")
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from _unstorable(item, f"{place}/{_step(key)}")


def _combination(mail: Mapping[str, Any]) -> Iterator[Fault]:
    if "template" not in mail:
        for name in ("subject", "text"):
            if name not in mail:
                yield at(f"/{name}", "Give either `template` (with `variables`), or `subject` and `text`")
                return
        for name in ("variables", "locale"):
            if name in mail:
                yield at(f"/{name}", "`variables` and `locale` need a `template`")
                return
    elif mail.keys() & {"subject", "text", "html"}:
        yield at("/template", "`template` cannot be combined with `subject`, `text` or `html`")
    elif "send_at" in mail and "expires_at" in mail and mail["expires_at"] <= mail["send_at"]:
        yield at("/expires_at", "`expires_at` must be later than `send_at`")


def _text(most: int, pattern: str = "(?s).+", *, is_line: bool = False) -> _Check:
    def check(value: Any, place: str) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield at(place, "Must be a string")
        elif len(value) > most or not re.fullmatch(pattern, value) or (is_line and _NOT_PLAIN.search(value)):
            yield at(place, "Is too long, empty, or has characters that are not allowed here")

    return check


def _one_of(*values: str) -> _Check:
    def check(value: Any, place: str) -> Iterator[Fault]:
        if value not in values:
            yield at(place, f"Must be one of {', '.join(values)}")

    return check


def _email(value: Any, place: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield at(place, "Must be a string")
    elif len(value) > 254 or not _EMAIL.fullmatch(value) or _NOT_PLAIN.search(value):  # noqa: PLR2004 - RFC 5321
        yield at(place, "Not an e-mail address that can be mailed")


def _time(value: Any, place: str) -> Iterator[Fault]:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        yield at(place, "Must be an RFC 3339 time with an offset, like 2026-01-31T12:00:00Z")


def _json(value: Any, place: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield at(place, "Must be an object")
    elif len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > _MAX_JSON_BYTES:
        yield at(place, f"Must be at most {_MAX_JSON_BYTES} bytes of JSON")


def _list(most: int, check_item: _Check) -> _Check:
    def check(value: Any, place: str) -> Iterator[Fault]:
        if not isinstance(value, list) or len(value) > most:
            yield at(place, f"Must be a list of at most {most}")
            return
        for n, item in enumerate(value):
            yield from check_item(item, f"{place}/{n}")

    return check


def _object(checks: Mapping[str, _Check], required: tuple[str, ...]) -> _Check:
    def check(value: Any, place: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield at(place, "Must be an object")
            return
        for name in required:
            if name not in value:
                yield at(f"{place}/{name}", "Is required")
        for name, item in value.items():
            if name not in checks:
                yield at(f"{place}/{_step(name)}", "Unknown field")
            elif item is not None:
                yield from checks[name](item, f"{place}/{name}")

    return check


def _headers(value: Any, place: str) -> Iterator[Fault]:
    if not isinstance(value, dict) or len(value) > 20:  # noqa: PLR2004 - the service's limit
        yield at(place, "Must be an object with at most 20 members")
        return
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            yield at(f"{place}/{_step(name)}", "Is no header name, or one that the mail service writes itself")
        else:
            yield from _text(900, "(?s).*", is_line=True)(text, f"{place}/{_step(name)}")


def _base64(value: Any, place: str) -> Iterator[Fault]:
    try:
        is_valid = isinstance(value, str) and value != "" and base64.b64decode(value, validate=True) != b""
    except (binascii.Error, ValueError):
        is_valid = False
    if not is_valid:
        yield at(place, "Must be Base64 (RFC 4648 section 4) with padding and without line breaks")


def _person_or_email(value: Any, place: str) -> Iterator[Fault]:
    yield from (_email if isinstance(value, str) else _PERSON)(value, place)


def _step(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


_PERSON = _object({"email": _email, "name": _text(200, "(?s).*", is_line=True)}, ("email",))
_FILE = _object(
    {
        "filename": _text(255, r"[^/\\]+", is_line=True),
        "content_type": _text(200, r"(?!(?i:multipart|message)/)[A-Za-z0-9][^/\s]*/[A-Za-z0-9][ -~]*"),
        "content": _base64,
        "content_id": _text(201, "[A-Za-z0-9._-]{1,100}(@[A-Za-z0-9.-]{1,100})?"),
    },
    ("filename", "content_type", "content"),
)
_FIELDS: dict[str, _Check] = {
    "request_id": _text(255, "[ -~]+"),
    "to": _PERSON,
    "template": _text(100, "[a-z0-9][a-z0-9_-]*"),
    "variables": _json,
    "locale": _text(35, "[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}"),
    "subject": _text(500, is_line=True),
    "text": _text(500_000),
    "html": _text(500_000),
    "from": _person_or_email,
    "reply_to": _person_or_email,
    "headers": _headers,
    "attachments": _list(20, _FILE),
    "tags": _list(20, _text(64, is_line=True)),
    "metadata": _json,
    "send_at": _time,
    "expires_at": _time,
    "on_uncertain": _one_of("hold", "resend"),
    "lane": _one_of("live", "bulk"),
    "correlation_id": _text(128, "[!-~]+"),
    "traceparent": _text(55, "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
}
_MAIL = _object(_FIELDS, ("to",))
