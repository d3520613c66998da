"""Lists: opaque keyset cursors, and a limit that is capped instead of refused."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from ..contract.ids import UUID
from ..contract.problems import InvalidRequest
from ..contract.timestamps import Timestamp

__all__ = ["Cursor", "FilterTexts", "Limit", "Timestamp", "after_id", "clamp", "cursor_of", "page"]

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit = Annotated[int, Query(ge=1, description="Maximum number of items; values above 500 count as 500.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Where to go on: `next_cursor` of the previous page.")]

# Text filters. When a filter is repeated, any of its values may match.
FilterTexts = Annotated[Sequence[str], Query(max_length=100)]


def clamp(limit: int) -> int:
    return min(limit, MAX_LIMIT)


def after_id(cursor: str | None) -> UUID | None:
    """The ID that a cursor encodes.

    Raises:
        InvalidRequest: the cursor was not issued by us.
    """
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        raise InvalidRequest(
            "The cursor was not issued by this list.",
            errors=[{"parameter": "cursor", "detail": "Not a cursor of this list"}],
        ) from None


def cursor_of(item_id: UUID) -> str:
    return base64.urlsafe_b64encode(item_id.bytes).rstrip(b"=").decode()


def page(items: Sequence[dict[str, Any]], limit: int, *, key: str = "id") -> dict[str, Any]:
    """One page of a list. `items` holds up to `limit + 1` rows; the extra one only shows that there are more."""
    more = len(items) > limit
    shown = list(items[:limit])
    return {"items": shown, "next_cursor": cursor_of(shown[-1][key]) if more else None}
