"""The ledger of a fake: one mail per (client, request ID), and the feed of its changes."""

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import RequestIdReused
from .replies import Refusal, at, invalid
from .templates import FakeTemplate, check_variables
from .validation import address_key

_LIFETIME = timedelta(days=2)


@dataclass(slots=True)
class Entry:
    """A mail: its resource as the API shows it, and the content it was asked for with."""

    mail: dict[str, Any]
    content: dict[str, Any]


@dataclass
class Ledger:
    templates: Mapping[str, FakeTemplate] | None = None
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    suppressed: set[str] = field(default_factory=set)

    def accept(self, client: str, request_id: str, content: dict[str, Any]) -> tuple[Entry, bool]:
        """The mail, and whether the request ID was used before.

        Raises:
            Refusal: nothing is left behind, and a new request ID stays unused.
        """
        known = self.entries.get((client, request_id))
        if known is not None:
            if known.content != content:
                fields = list(_differences(known.content, content, ""))
                raise Refusal(RequestIdReused, 422, [at(place, "Differs from the first request") for place in fields])
            return known, True
        expires_at = content.get("expires_at")
        if expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC):
            raise invalid([at("/expires_at", "Must be in the future")])
        check_variables(self.templates, content)
        entry = Entry(self._mail(client, request_id, content), content)
        self.entries[client, request_id] = entry
        self._record(entry, "accepted")
        return entry, False

    def settle(self, entry: Entry, state: str, **members: Any) -> None:
        """Moves a mail to `state`, with what else changes in it."""
        entry.mail |= {"state": state, "next_attempt_at": None, **members}
        self._record(entry, state)

    def newest_first(self, client: str) -> list[Entry]:
        return [entry for entry in reversed(self.entries.values()) if entry.mail["client"] == client]

    def _record(self, entry: Entry, kind: str) -> None:
        copied = ("request_id", "client", "state", "message_id", "sent_at", "fingerprint", "template")
        change = {"id": str(_uuid7()), "at": _now(), "kind": f"mail.{kind}", "mail_id": entry.mail["id"]}
        detail = {"state": entry.mail["state"]}
        self.changes.append(
            change | {name: entry.mail[name] for name in copied} | {"correlation_id": None, "detail": detail}
        )

    def _mail(self, client: str, request_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        mail_id, accepted_at = _uuid7(), datetime.now(UTC)
        template = content.get("template")
        known = (self.templates or {}).get(template or "", FakeTemplate())
        is_suppressed = address_key(content["to"]["email"]) in self.suppressed
        sender = content.get("from", {"email": "no-reply@counterfoil.example"})
        failure = {"reason": "address suppressed", "code": None, "enhanced_code": None, "reply": None}
        return {
            "id": str(mail_id),
            "request_id": request_id,
            "client": client,
            "state": "suppressed" if is_suppressed else "queued",
            "to": {"email": content["to"]["email"], "name": content["to"].get("name")},
            "from": sender["email"],
            "subject": content.get("subject"),
            "template": template,
            "template_version": template and "fake",
            "locale": content.get("locale", "en") if template else None,
            "tags": content.get("tags", []),
            "metadata": content.get("metadata", {}),
            "on_uncertain": content.get("on_uncertain", known.on_uncertain),
            "lane": content["lane"],
            "attempts": 0,
            "gateway": None,
            "message_id": f"<{mail_id}@counterfoil.example>",
            "accepted_at": accepted_at.isoformat(),
            "send_at": content.get("send_at"),
            "sent_at": None,
            "next_attempt_at": None if is_suppressed else content.get("send_at", accepted_at.isoformat()),
            "expires_at": content.get("expires_at", (accepted_at + _LIFETIME).isoformat()),
            "failure": failure if is_suppressed else None,
            "restored": False,
            "fingerprint": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _uuid7() -> uuid.UUID:
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << 80) | secrets.randbits(80)
    return uuid.UUID(int=(number & ~(0xF << 76) & ~(0x3 << 62)) | (7 << 76) | (2 << 62))


def _differences(first: Any, second: Any, place: str) -> Iterator[str]:
    """JSON pointers to the deepest values that differ. An attachment differs as a whole."""
    if place == "/attachments":
        first, second = dict(enumerate(map(str, first or ()))), dict(enumerate(map(str, second or ())))
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            step = str(name).replace("~", "~0").replace("/", "~1")
            yield from _differences(first.get(name), second.get(name), f"{place}/{step}")
    elif first != second or type(first) is not type(second):
        yield place
