"""What a provider reports about one mail, in our words. Pure."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from ..bounces.notice import Kind
from ..delivery.smtp_outcomes import suppresses_address

# The name under which providers repeat a mail's ID (`delivery/gateways/transport_headers.py`).
ECHOED_NAME = "counterfoil_id"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<?([!-;=?A-~]{1,400}@[!-;=?A-~]{1,400})>?")
_ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_REPLY_CODE = re.compile(r"(?<![\d.])[245]\d\d(?![\d.])")
# Codes stand at the beginning; what follows may be a whole quotation.
_READ_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Event:
    """`mail_ids` and `message_ids` are candidates, the best first. `diagnostic` may hold personal data."""

    kind: Kind
    # Tells it from every other event of its provider; the same event has the same again.
    event_id: str = ""
    mail_ids: tuple[UUID, ...] = ()
    message_ids: tuple[str, ...] = ()
    status: str | None = None
    code: int | None = None
    diagnostic: str | None = None
    # The address must not be mailed again.
    suppresses: bool = False
    # False: the provider did not try to deliver the mail, because of an earlier event or of its content.
    was_tried: bool = True


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One event of a call that says too little. The others count."""

    reason: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """The provider asks whether events may come; fetching `url` says yes."""

    url: str


Reading: TypeAlias = Event | Unreadable | Subscription

# An opened mail, a click, news about the provider's account: nothing that changes a mail.
IGNORED = Event(Kind.OTHER)


class UnreadableError(ValueError):
    """An event lacks what it needs. The text is our own."""


def read_each(entries: Iterable[Any], read: Callable[[dict[str, Any]], Reading]) -> list[Reading]:
    """Read the entries one by one, so that a bad one does not spoil the others."""
    return [_read_one(entry, read) for entry in entries]


def _read_one(entry: Any, read: Callable[[dict[str, Any]], Reading]) -> Reading:
    if not isinstance(entry, dict):
        return Unreadable("an event must be an object")
    try:
        return read(entry)
    except UnreadableError as error:
        return Unreadable(str(error))


def mail_ids_of(echoed: Iterable[str], message_ids: Sequence[str] = ()) -> tuple[UUID, ...]:
    """The mail IDs among what a provider repeated, then those that our Message-IDs begin with."""
    texts = [*echoed, *(text.strip("<> ").partition("@")[0] for text in message_ids)]
    return tuple(dict.fromkeys(UUID(text) for text in texts if _UUID.fullmatch(text)))


def ids_in(text: str) -> list[str]:
    """Every ID in a text that a provider repeats as a whole."""
    return _UUID.findall(text)


def bracketed(message_ids: Iterable[str]) -> tuple[str, ...]:
    """Message-IDs as the ledger has them: some providers leave out the angle brackets."""
    return tuple(f"<{found[1]}>" for text in message_ids if (found := _MESSAGE_ID.fullmatch(text.strip())))


def status_in(text: str) -> str | None:
    """The enhanced status code (RFC 3463) in a server's reply."""
    found = _ENHANCED.search(text[:_READ_CHARACTERS])
    return found[0] if found else None


def code_in(text: str) -> int | None:
    """The reply code (RFC 5321) in a server's reply."""
    found = _REPLY_CODE.search(text[:_READ_CHARACTERS])
    return int(found[0]) if found else None


def is_dead(status: str | None, *, by_class: bool) -> bool:
    """Whether a failure means that the address must not be mailed again.

    A status decides as it does in a gateway's reply. Without one, or when it names only a class (5.0.0), the provider's
    own classification decides.
    """
    if status is None or status.endswith(".0.0"):
        return by_class
    return suppresses_address(status)
