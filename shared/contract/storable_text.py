"""Text that PostgreSQL can hold: Unicode without NUL and without unpaired surrogates. One test for all text.

Bodies, queries, paths and headers of every call go through it in `shared/http/routing.py`, so no field asks for it.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from .problems import at, pointer

UNSTORABLE = "Must not contain NUL characters (U+0000) or unpaired surrogates (U+D800 to U+DFFF)"
_UNSTORABLE_NAME = (
    "Has a field whose name contains a NUL character (U+0000) or an unpaired surrogate (U+D800 to U+DFFF)"
)

_UNSTORABLE_CHARACTER = re.compile("[\0\ud800-\udfff]")

_BACKSLASH = ord("\\")
# In JSON text whose escaped backslashes are hidden, as the text `\\ud800` holds no escape of a surrogate.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_MAY_BE_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def is_storable(text: str) -> bool:
    return _UNSTORABLE_CHARACTER.search(text) is None


def shown(text: str) -> str:
    """`text` as an answer can show it: U+FFFD in place of what is unstorable."""
    return _UNSTORABLE_CHARACTER.sub("\ufffd", text)


def may_be_unstorable(json: bytes) -> bool:
    """Whether it is worth looking at the strings of this JSON text."""
    # Most bodies hold no backslash, which is seen in a fraction of the time that the expression needs.
    return _BACKSLASH in json and _MAY_BE_UNSTORABLE.search(json) is not None


def with_nul_for_lone_surrogates(json: bytes) -> bytes:
    """JSON text that strict parsers read, in which `faults` still finds the place of each unpaired surrogate."""
    if b"\0" in json:  # not JSON, and the byte that hides backslashes here
        return json
    hidden = json.replace(rb"\\", b"\0\0")
    return _LONE_SURROGATE.sub(rb"\\u0000", hidden).replace(b"\0\0", rb"\\")


def faults(value: Any) -> Iterator[tuple[tuple[object, ...], str]]:
    """The path and the fault of each string in parsed JSON that cannot be stored."""
    left: deque[tuple[tuple[object, ...], Any]] = deque([((), value)])
    while left:  # no recursion: JSON may be nested deeper than Python's stack
        path, found = left.popleft()
        if isinstance(found, str):
            if not is_storable(found):
                yield path, UNSTORABLE
        elif isinstance(found, list):
            left.extend(((*path, place), item) for place, item in enumerate(found))
        elif isinstance(found, dict):
            if not all(map(is_storable, found)):
                yield path, _UNSTORABLE_NAME
            left.extend(((*path, shown(name)), item) for name, item in found.items())


def problem_errors(value: Any) -> Iterator[dict[str, str]]:
    """`faults` as entries of a problem's `errors`."""
    return (at(pointer(path), fault) for path, fault in faults(value))
