"""Wrong requests, derived from the OpenAPI documents: each place with each kind of wrong value.

Text carries MARK, so that a test can see whether an answer repeats it.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.support.operations import ABSENT, Call, Place, sample

MARK = "zebra7"
_TOO_LONG = 10_000
_FAR = 10**30
_JSON = "application/json"

_FILE = {"filename": MARK, "content_type": "application/pdf", "content": "AAAA"}

# What no single place shows: fields that do not go together, and values that a schema cannot rule out.
COMBINATIONS: dict[tuple[str, str], list[Any]] = {
    ("POST", "/v1/mails"): [
        {"to": {"email": "bo@x.example"}, "subject": MARK},
        {"to": {"email": "bo@x.example"}, "text": MARK},
        {"to": {"email": "bo@x.example"}, "template": "welcome", "subject": MARK},
        {"to": {"email": "bo@x.example"}, "subject": MARK, "text": MARK, "variables": {}},
        {"to": {"email": "bo@x.example"}, "subject": MARK, "text": MARK, "locale": "en"},
        {"to": {"email": "bo@x.example"}, "subject": MARK, "text": MARK},
        {"request_id": MARK, "to": {"email": "bo@x.example"}, "template": MARK},
        {"request_id": MARK, "to": {"email": "bo@x.example"}, "template": "welcome"},
        {"request_id": MARK, "to": {"email": "bo@x.example"}, "template": "welcome", "variables": {"x": MARK}},
        {
            "request_id": MARK,
            "to": {"email": "bo@x.example"},
            "template": "verification",
            "variables": {"link": MARK, "expires_in_hours": [], "name": f"{MARK}\x01"},
        },
        {
            "request_id": MARK,
            "to": {"email": "bo@x.example"},
            "subject": MARK,
            "text": MARK,
            "from": f"bo@{MARK}.example",
        },
        {
            "to": {"email": "bo@x.example"},
            "subject": MARK,
            "text": MARK,
            "send_at": "2126-01-31T12:00:00Z",
            "expires_at": "2026-01-31T12:00:00Z",
        },
        *(
            {"to": {"email": "bo@x.example"}, "request_id": MARK, "subject": MARK, "text": MARK, "attachments": files}
            for files in (
                [_FILE | {"filename": f"../{MARK}"}],
                [_FILE | {"content_type": "multipart/mixed"}],
                [_FILE | {"content_type": f"text/plain; name={MARK}"}],
                [_FILE | {"content": f"{MARK}!"}],
                [_FILE | {"content_id": MARK}],
                [_FILE | {"content_id": MARK}] * 2,
            )
        ),
        *(
            {"to": {"email": "bo@x.example"}, "subject": MARK, "text": MARK, "headers": headers}
            for headers in (
                {"a b": MARK},
                {"Date": MARK},
                {"X-A": "1", "x-a": "2"},
                {"List-Help": MARK},
                {"List-Unsubscribe-Post": MARK},
                {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
            )
        ),
    ],
    ("POST", "/v1/erasures"): [{"email": "bo@x.example", "metadata": {"a": MARK}}, {}],
    ("POST", "/v1/webhooks/{subscriber_id}/replay"): [{"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}],
    ("POST", "/v1/webhooks"): [
        {"url": url, "events": ["user.verified"]}
        for url in (
            f"http://{MARK}.example/",
            "https://127.0.0.1/",
            "https://localhost/",
            f"https://{MARK}:x@hooks.example/",
            f"https://hooks.example/#{MARK}",
            "https://hooks.example/" + "å" * 1500,
        )
    ],
    ("GET", "/v1/stats/signups"): [
        {"from": "2026-02-01", "to": "2026-01-31"},
        {"from": "2025-01-01", "to": "2026-12-31"},
        {"from": "2026-02-30"},
    ],
    ("POST", "/audit/reconciliation/run"): [
        {"from": "2026-01-31T12:00:00Z", "to": "2026-01-30T12:00:00Z"},
        {"from": "2126-01-31T12:00:00Z"},
    ],
}


def wrong_requests(call: Call) -> Iterator[dict[str, Any]]:
    """Arguments of `httpx.AsyncClient.request`, without the method."""
    for place in call.places():
        if place.location == "body":
            yield from _bodies(call, place)
        else:
            yield from _parameters(call, place)
    if not call.is_page:
        yield {"url": f"{call.url}?unknown=1"}
    if call.method != "GET":
        yield {"url": call.url, "content": b"[1]", "headers": {"Content-Type": "text/plain"}}
    if call.takes_json:
        for text in (b"", b"{", b'{"a": NaN}', b'"\xff"', b"null", b"[" * 5000, b'{"\\ud800": 1}'):
            yield {"url": call.url, "content": text, "headers": {"Content-Type": _JSON}}
    for body in COMBINATIONS.get((call.method, call.path), []):
        yield {"url": call.url, "params" if call.method == "GET" else "json": body}


def _bodies(call: Call, place: Place) -> Iterator[dict[str, Any]]:
    for value in wrong_values(place, call):
        yield {"url": call.url, "json": call.body(place.path, value)}
    if place.required and place.path:
        yield {"url": call.url, "json": call.body(place.path, ABSENT)}
    if place.schema.get("type") == "object" and not place.schema.get("additionalProperties"):
        yield {"url": call.url, "json": call.body((*place.path, "unknown"), MARK)}


def _parameters(call: Call, place: Place) -> Iterator[dict[str, Any]]:
    others = _other_parameters(call, place)
    body = {"json": call.body()} if call.takes_json else {"content": b""}
    items = place.schema.get("maxItems", 0)
    if place.required and place.location == "query":
        yield {"url": call.url, "params": others, **body}
    for text in ("", MARK, f"{MARK}\x07", f"{MARK} é", "-1", "1.5", "9" * 40, "2026-13-01T00:00:00Z", MARK * 500):
        if place.location == "query":
            yield {"url": call.url, "params": [*others, (place.name, text)], **body}
        elif place.location == "path" and text:
            yield {"url": call.url_with({place.name: quote(text, safe="")}), **body}
        elif place.location == "header" and text.isascii() and "\x07" not in text:
            yield {"url": call.url, "headers": {place.name: text}, **body}
    if place.location == "header":
        yield {"url": call.url, "headers": [(place.name.encode(), b"\xe9")], **body}
    if items:
        value = str(sample(place.schema["items"], call.document, place.name))
        yield {"url": call.url, "params": [*others, *([(place.name, value)] * (items + 1))], **body}


def _other_parameters(call: Call, place: Place) -> list[tuple[str, str]]:
    return [
        (other.name, str(sample(other.schema, call.document, other.name)))
        for other in call.places()
        if other.location == "query" and other.required and other.name != place.name
    ]


def wrong_values(place: Place, call: Call) -> Iterator[Any]:
    """Values that are wrong for the schema, or that validators beside it often refuse."""
    schema, kind = place.schema, place.schema.get("type")
    yield from (value for name, value in _OF_OTHER_TYPES.items() if name != kind and kind)
    if kind == "string":
        yield from ("", " ", MARK, f"{MARK}\x07", f"{MARK}\u202e", "\u200b", f"{MARK} é", "2026-13-01T00:00:00Z")
        yield from (f"{MARK}@", f"{MARK}@x@x.example", f"{MARK}@localhost", f"{MARK}..@x.example", f"{MARK} @x.example")
        yield MARK * _TOO_LONG if "maxLength" not in schema else MARK * (schema["maxLength"] // len(MARK) + 1)
    elif kind == "array":
        yield []
        yield [sample(schema.get("items", {}), call.document)] * (schema.get("maxItems", _TOO_LONG) + 1)
    elif kind == "object":
        yield {}
    if schema.get("additionalProperties"):
        yield {"key": MARK * _TOO_LONG}
        yield {"key": _nested(100)}
        yield {f"key{n}": MARK for n in range(schema.get("maxProperties", 0) + 1)}
    if kind in {"integer", "number"}:
        yield from (schema.get("minimum", 0) - 1, schema.get("maximum", _FAR) + 1, 1.5)


_OF_OTHER_TYPES: dict[str, Any] = {"string": MARK, "array": [1], "object": {"a": 1}, "integer": 7, "null": None}


def _nested(levels: int) -> Any:
    return [] if levels == 0 else [_nested(levels - 1)]
