"""Timestamps in requests: RFC 3339 with an offset, and nothing else."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

# RFC 3339 section 5.6. pydantic alone would also accept a bare number as seconds since 1970.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _is_time(text: object) -> object:
    if not isinstance(text, datetime) and not (isinstance(text, str) and _TIME.fullmatch(text)):
        raise ValueError("Must be an RFC 3339 time with an offset, like 2026-01-31T12:00:00Z")
    return text


def _in_utc(timestamp: datetime) -> datetime:
    try:
        return timestamp.astimezone(UTC)
    except OverflowError:
        raise ValueError("Must be a time within the years 1 to 9999 UTC") from None


Timestamp = Annotated[AwareDatetime, BeforeValidator(_is_time), AfterValidator(_in_utc)]
