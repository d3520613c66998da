"""Request IDs: the caller's own name for one mail, the same at every retry, for ever."""

import hashlib
import re
from datetime import date
from urllib.parse import quote
from uuid import UUID

from .errors import BadRequestId

MAX_LENGTH = 255

_ALLOWED = re.compile(r"[ -~]{1,255}")
# `quote` never writes a `#`, so a shortened ID equals no other.
_SHORTENED = "#"
_HEAD_LENGTH = 100


def request_id(*parts: str | int | UUID | date) -> str:
    """A request ID from the caller's own key, like `request_id("welcome", user.id)`.

    The same parts give the same ID in every process and version; other parts give another one: `("a:b",)` differs from
    `("a", "b")`. An ID longer than 255 characters is shortened to its beginning and a SHA-256. Let the first part say
    what the mail is for.

    Raises:
        BadRequestId: no parts, or one that is empty, None or of another type. Such a part would be the same for
            everyone, and everyone together would get one mail.
    """
    if not parts:
        raise BadRequestId("A request ID needs at least one part")
    text = ":".join(quote(_text(part), safe="@+", errors="surrogatepass") for part in parts)
    if len(text) <= MAX_LENGTH:
        return text
    return f"{text[:_HEAD_LENGTH]}{_SHORTENED}{hashlib.sha256(text.encode()).hexdigest()}"


def checked(text: str) -> str:
    """The request ID, unchanged.

    Raises:
        BadRequestId: the services would refuse it.
    """
    if not isinstance(text, str) or not _ALLOWED.fullmatch(text):
        raise BadRequestId("A request ID must be a text of 1 to 255 printable ASCII characters")
    return text


def _text(part: object) -> str:
    if isinstance(part, str) and part:
        return str.__str__(part)
    if isinstance(part, int) and not isinstance(part, bool):
        return int.__repr__(part)
    if isinstance(part, UUID):
        return str(part)
    if isinstance(part, date):  # a datetime too
        return part.isoformat()
    raise BadRequestId(f"A part of a request ID must be a text, a whole number, a UUID or a date, not {part!r:.50}")
