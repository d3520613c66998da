"""Foreign JSON, read without trust: every access gives the wanted type or nothing. Pure."""

import json
from typing import Any

from shared.contract.problems import MalformedRequest, PayloadTooLarge, at

from .event import UnreadableError

# A batch of 1 MiB has fewer; more would hold up others for seconds.
MAX_EVENTS = 5_000


def parse(raw: bytes) -> Any:
    """Parse a body. More lenient than our own calls: what one event says must not spoil the others of its batch.

    Raises:
        MalformedRequest: it is not JSON.
    """
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not JSON.", errors=[at("", "Must be JSON")]) from None


def entries_of(content: Any) -> list[Any]:
    """The events of a call: a list of them, or one.

    Raises:
        PayloadTooLarge: there are too many.
    """
    entries = content if isinstance(content, list) else [content]
    if len(entries) > MAX_EVENTS:
        raise PayloadTooLarge(f"A call may bring at most {MAX_EVENTS} events.")
    return entries


def at_path(content: Any, *path: str) -> Any:
    """What stands at a path of names; None when something is missing on the way."""
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return content


def text_at(content: Any, *path: str) -> str:
    """The text at a path; a number counts as text. Empty without one."""
    value = at_path(content, *path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def needed(content: Any, *path: str) -> str:
    """The text at a path, without which an event says nothing.

    Raises:
        UnreadableError: it is missing.
    """
    text = text_at(content, *path)
    if not text:
        raise UnreadableError(f"{'.'.join(path)} is missing")
    return text


def list_at(content: Any, *path: str) -> list[Any]:
    value = at_path(content, *path)
    return value if isinstance(value, list) else []


def named(pairs: list[Any], name: str) -> list[str]:
    """The values of a header in a list of `{name, value}`. Names of headers have no case."""
    return [text_at(pair, "value") for pair in pairs if text_at(pair, "name").lower() == name]
