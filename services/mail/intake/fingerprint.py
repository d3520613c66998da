"""Whether two requests ask for the same mail, and where they differ. Pure."""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

_ABSENT = object()
_ATTACHMENTS = "attachments"


def fingerprint(content: dict[str, Any]) -> bytes:
    """SHA-256 over the canonical content (`MailRequest.content()`): key order is ignored, everything else counts."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def differing_fields(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """JSON pointers (RFC 6901) to the deepest values that differ, sorted by name. An attachment differs as a whole."""
    return list(_differences(_by_place(first), _by_place(second), ""))


def _by_place(content: dict[str, Any]) -> dict[str, Any]:
    files = content.get(_ATTACHMENTS, ())
    return {**content, _ATTACHMENTS: {str(place): sorted(file.items()) for place, file in enumerate(files)}}


def _differences(first: Any, second: Any, pointer: str) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            step = name.replace("~", "~0").replace("/", "~1")
            yield from _differences(first.get(name, _ABSENT), second.get(name, _ABSENT), f"{pointer}/{step}")
    elif first != second or type(first) is not type(second):
        yield pointer
