"""Gateways that send a mail once although it is handed over twice with one key (ADR 0033). Pure: no I/O, no clock.

While the gateway knows the key, an unknown outcome can be asked again: the mail is handed over there once more, and the
reply says what became of it. Nowhere else, because no other gateway knows the key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson


@dataclass(frozen=True, slots=True)
class Deduplication:
    """What a gateway says of itself: the header that carries the key, and for how long an unknown outcome is asked."""

    header: str
    # Shorter than the gateway knows a key, by the longest wait for a reply: a question must not arrive too late.
    ask_seconds: float

    def wrote(self, line: str) -> bool:
        """Whether `line` carried its key in this header."""
        return line.startswith(header_line(self.header, ""))


def header_line(header: str, key: str) -> str:
    """Without its line break."""
    return f"{header}: {key}"


def key_of(mail_id: UUID, resends: int) -> str:
    """The mail's ID. Each resend is a copy that is wanted, so it has a key of its own."""
    return f"{mail_id}-{resends}" if resends else str(mail_id)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What one gateway knows of a mail's current key: the header line, and until when an unknown outcome is asked."""

    gateway: str
    line: str
    ask_until: datetime
    unknown: int = 0  # attempts with this line that ended `unknown`


def use_of(uses: Iterable[KeyUse], gateway: str, key: str, now: datetime, deduplication: Deduplication) -> KeyUse:
    """The use that an attempt makes which begins to transmit now. The first with a key sets the end for all of them."""
    line = header_line(deduplication.header, key)
    for use in uses:
        if (use.gateway, use.line) == (gateway, line):
            return use
    return KeyUse(gateway, line, now + timedelta(seconds=deduplication.ask_seconds))


def open_question(uses: Iterable[KeyUse]) -> KeyUse | None:
    """The use whose outcome is unknown: only that gateway may have the mail. There is one at most."""
    return next((use for use in uses if use.unknown), None)


def read_key_uses(text: str | None) -> tuple[KeyUse, ...]:
    """From `key_uses` of the claim or the rescue."""
    return tuple(
        KeyUse(use["gateway"], use["line"], datetime.fromisoformat(use["ask_until"]), use["unknown"])
        for use in orjson.loads(text or "[]")
    )
