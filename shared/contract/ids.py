"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that new rows are adjacent in an index."""

from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

__all__ = ["UUID", "lowest_uuid7", "uuid7", "uuid7_at"]

_BELOW_TIME = (1 << 80) - 1


def lowest_uuid7(at: datetime, shift: timedelta = timedelta()) -> UUID:
    """No UUIDv7 of `at + shift`, or of a later millisecond, is lower. Of a time before 1970, the lowest of all.

    The sum may lie outside the calendar.
    """
    milliseconds = min(max(0, int((at.timestamp() + shift.total_seconds()) * 1000)), (1 << 48) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


def uuid7_at(at: datetime) -> UUID:
    """A new UUIDv7 with the time `at`, for a row that should stand where it would have been made then."""
    return UUID(int=lowest_uuid7(at).int & ~_BELOW_TIME | uuid7().int & _BELOW_TIME)
