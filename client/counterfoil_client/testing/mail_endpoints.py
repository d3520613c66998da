"""The calls of the mail service, as far as a fake has them."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from ..errors import CursorLost, MethodNotAllowed, NotFound, RequestIdMismatch, RequestIdRequired
from ..errors import WrongState as WrongStateError
from .ledger import Entry, Ledger
from .replies import Refusal, Reply, at, invalid, invalid_parameter, json_reply
from .validation import address_key, checked_mail, content_of

_MAX_BATCH, _MAX_LOOKUP, _MAX_PAGE = 500, 1000, 500
_STATES = frozenset(
    "queued sending deferred sent bounced uncertain failed canceled expired suppressed".split()  # noqa: SIM905 - reads best
)
_REPLAYED = {"Idempotent-Replayed": "true"}


class MailEndpoints:
    """Answers for one ledger. Raises Refusal for what the service refuses."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._routes: list[tuple[str, str, Callable[..., Reply]]] = [
            ("POST", r"/v1/mails", self._send),
            ("GET", r"/v1/mails", self._list),
            ("POST", r"/v1/mails/batch", self._send_batch),
            ("POST", r"/v1/mails/lookup", self._look_up),
            ("GET", r"/v1/mails/([0-9a-f-]{36})", self._get),
            ("POST", r"/v1/mails/([0-9a-f-]{36})/cancel", self._cancel),
            ("GET", r"/v1/changes", self._changes),
        ]

    def answer(self, client: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """`headers` have names in lower case."""
        path, _, query = target.partition("?")
        found = [(verb, match, act) for verb, form, act in self._routes if (match := re.fullmatch(form, path))]
        if not found:
            raise Refusal(NotFound, 404)
        for verb, match, act in found:
            if verb == method:
                given = parse_qsl(query, keep_blank_values=True) if method == "GET" else _parsed(body)
                return act(client, given, headers, *match.groups())
        raise Refusal(MethodNotAllowed, 405)

    def _send(self, client: str, body: Any, headers: Mapping[str, str]) -> Reply:
        mail = checked_mail(body)
        in_header = headers.get("idempotency-key")
        request_id = mail.get("request_id", in_header)
        if request_id is None:
            raise _without_request_id()
        if in_header not in {None, request_id}:
            raise Refusal(RequestIdMismatch, 400, [at("/request_id", "Differs from the Idempotency-Key header")])
        entry, is_replayed = self._ledger.accept(client, request_id, content_of(mail))
        return json_reply(202, entry.mail, _REPLAYED if is_replayed else {})

    def _send_batch(self, client: str, body: Any, _headers: Mapping[str, str]) -> Reply:
        return json_reply(200, {"results": [self._judge(client, item) for item in _listed(body, "mails", _MAX_BATCH)]})

    def _judge(self, client: str, item: Any) -> dict[str, Any]:
        given = item.get("request_id") if isinstance(item, dict) else None
        result: dict[str, Any] = {"request_id": given if isinstance(given, str) else None}
        try:
            mail = checked_mail(item)
            if "request_id" not in mail:
                raise _without_request_id()
            entry, is_replayed = self._ledger.accept(client, mail["request_id"], content_of(mail))
        except Refusal as refusal:
            return result | {"outcome": "rejected", "problem": refusal.members}
        return result | {"outcome": "replayed" if is_replayed else "accepted", "mail": dict(entry.mail)}

    def _look_up(self, client: str, body: Any, _headers: Mapping[str, str]) -> Reply:
        wanted = dict.fromkeys(_listed(body, "request_ids", _MAX_LOOKUP))
        entries = {key: self._ledger.entries.get((client, key)) for key in wanted}
        found = {key: entry.mail for key, entry in entries.items() if entry}
        return json_reply(200, {"found": found, "missing": [key for key, entry in entries.items() if not entry]})

    def _get(self, client: str, _query: Any, _headers: Mapping[str, str], mail_id: str) -> Reply:
        return json_reply(200, self._own(client, mail_id).mail)

    def _cancel(self, client: str, _body: Any, _headers: Mapping[str, str], mail_id: str) -> Reply:
        entry = self._own(client, mail_id)
        if entry.mail["state"] not in {"queued", "deferred"}:
            allowed = ["queued", "deferred"]
            raise Refusal(WrongStateError, 409, state=entry.mail["state"], allowed=allowed)
        self._ledger.settle(entry, "canceled")
        return json_reply(200, entry.mail)

    def _list(self, client: str, query: Iterable[tuple[str, str]], _headers: Mapping[str, str]) -> Reply:
        filters: dict[str, list[str]] = {}
        for name, value in query:
            filters.setdefault(name, []).append(value)
        limit, start = _limit(filters), _position(filters.pop("cursor", ["MA=="])[-1], "cursor")
        for name, values in filters.items():
            if name not in _FILTERS and not name.startswith("metadata."):
                raise invalid_parameter(name, "Unknown parameter")
            if name == "state" and not _STATES.issuperset(values):
                raise invalid_parameter("state", "There is no such state")
        matching = [entry.mail for entry in self._ledger.newest_first(client) if _matches(entry.mail, filters)]
        end = start + limit
        return json_reply(200, {"items": matching[start:end], "next_cursor": _cursor(end) if matching[end:] else None})

    def _changes(self, client: str, query: Iterable[tuple[str, str]], _headers: Mapping[str, str]) -> Reply:
        given = {name: [value] for name, value in query}
        limit, start = _limit(given), _position(given.pop("after", ["MA=="])[-1], "after")
        if given:
            raise invalid_parameter(next(iter(given)), "Unknown parameter")
        if start > len(self._ledger.changes):
            raise Refusal(CursorLost, 410)
        items: list[dict[str, Any]] = []
        for start, change in enumerate(self._ledger.changes[start:], start + 1):  # noqa: B007, B020 - the end
            items += [change] if change["client"] == client else []
            if len(items) == limit:
                break
        more = start < len(self._ledger.changes)
        return json_reply(200, {"items": items, "next_cursor": _cursor(start), "more": more})

    def _own(self, client: str, mail_id: str) -> Entry:
        for entry in self._ledger.newest_first(client):
            if entry.mail["id"] == mail_id:
                return entry
        raise Refusal(NotFound, 404)


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise invalid([at("", "Not valid JSON")]) from None


def _listed(body: Any, name: str, most: int) -> list[Any]:
    listed = body.get(name) if isinstance(body, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= most:
        raise invalid([at(f"/{name}", f"Must be a list of 1 to {most}")])
    return listed


def _without_request_id() -> Refusal:
    return Refusal(RequestIdRequired, 400, [at("/request_id", "Is required here or in the Idempotency-Key header")])


def _limit(filters: dict[str, list[str]]) -> int:
    text = filters.pop("limit", ["50"])[-1]
    if not text.isdecimal() or int(text) < 1:
        raise invalid_parameter("limit", "Must be a whole number of at least 1")
    return min(int(text), _MAX_PAGE)


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _position(cursor: str, parameter: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor))
    except ValueError:
        raise invalid_parameter(parameter, "Not a cursor of this list") from None


def _matches(mail: Mapping[str, Any], filters: Mapping[str, list[str]]) -> bool:
    return all(any(_has(mail, name, value) for value in values) for name, values in filters.items())


def _has(mail: Mapping[str, Any], name: str, value: str) -> bool:
    if name.startswith("metadata."):
        found = mail["metadata"].get(name.removeprefix("metadata."))
        return found is not None and value in {str(found), json.dumps(found)}
    return _FILTERS[name](mail, value)


def _is_after(mail: Mapping[str, Any], name: str, value: str) -> bool:
    return mail[name] is not None and datetime.fromisoformat(mail[name]) >= datetime.fromisoformat(value)


def _is_before(mail: Mapping[str, Any], name: str, value: str) -> bool:
    return mail[name] is not None and not _is_after(mail, name, value)


_FILTERS: dict[str, Callable[[Mapping[str, Any], str], bool]] = {
    "request_id": lambda mail, value: bool(mail["request_id"] == value),
    "to": lambda mail, value: address_key(mail["to"]["email"]) == address_key(value),
    "state": lambda mail, value: bool(mail["state"] == value),
    "template": lambda mail, value: bool(mail["template"] == value),
    "client": lambda mail, value: bool(mail["client"] == value),
    "tag": lambda mail, value: value in mail["tags"],
    "accepted_after": lambda mail, value: _is_after(mail, "accepted_at", value),
    "accepted_before": lambda mail, value: _is_before(mail, "accepted_at", value),
    "sent_after": lambda mail, value: _is_after(mail, "sent_at", value),
    "sent_before": lambda mail, value: _is_before(mail, "sent_at", value),
}
