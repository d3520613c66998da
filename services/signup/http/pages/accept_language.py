"""Which of some languages a browser prefers: the Accept-Language header, RFC 9110 section 12.5.4. Pure."""

import re
from collections.abc import Sequence

# A language range and its weight. RFC 5646 section 4.4.1 lets a tag be cut to 35 characters; eight subtags are more.
_RANGE = re.compile(
    r"[ \t]*(\*|[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,7})[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?",
    re.ASCII | re.IGNORECASE,
)
# Browsers send fewer than ten; a header of 64 KiB must not cost more.
_MAX_RANGES = 50


def preferred(accept_language: str, offered: Sequence[str]) -> str:
    """The language of `offered` that the header prefers; the first when none is acceptable, since a page helps more
    than a refusal.

    A range matches as RFC 4647 section 3.4 looks up: `pt-BR`, then `pt`. Ranges with broken syntax are skipped.
    """
    weights = _weights(accept_language)
    refused = {tag for tag in offered if any(_covers(range_, tag) for range_, weight in weights if not weight)}
    acceptable = {tag.lower(): tag for tag in offered if tag not in refused}
    for range_, _ in sorted(((range_, weight) for range_, weight in weights if weight), key=lambda pair: -pair[1]):
        if range_ == "*" and acceptable:
            return next(iter(acceptable.values()))
        subtags = range_.split("-")
        for length in range(len(subtags), 0, -1):
            if found := acceptable.get("-".join(subtags[:length])):
                return found
    return offered[0]


def _weights(accept_language: str) -> list[tuple[str, float]]:
    parts = accept_language.split(",", _MAX_RANGES)[:_MAX_RANGES]
    found = (_RANGE.fullmatch(part) for part in parts)
    return [(match[1].lower(), float(match[2] or 1)) for match in found if match]


def _covers(range_: str, tag: str) -> bool:
    """Basic filtering of RFC 4647 section 3.3.1: `pt` covers `pt-BR`, not the other way round."""
    return f"{tag.lower()}-".startswith(f"{range_}-")
