"""Whether two requests ask for the same mail, and where they differ. Pure."""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

_ABSENT = object()


def fingerprint(content: dict[str, Any]) -> bytes:
    """SHA-256 over the canonical content (`MailRequest.content()`): key order does not count, everything else does."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def differing_fields(first: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """JSON pointers (RFC 6901) of what is not the same in both, deepest names first come."""
    return list(_differences(first, again, ""))


def _differences(first: Any, again: Any, pointer: str) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(again, dict):
        for name in sorted({*first, *again}):
            step = name.replace("~", "~0").replace("/", "~1")
            yield from _differences(first.get(name, _ABSENT), again.get(name, _ABSENT), f"{pointer}/{step}")
    elif first != again or type(first) is not type(again):
        yield pointer
