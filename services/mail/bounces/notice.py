"""What a notice says: its kind, its codes, the words of its reporter, and the mails it may be about. Pure values."""

import enum
import re
from dataclasses import dataclass
from uuid import UUID

# Longest diagnostic that is kept, the same as for a gateway's reply.
DIAGNOSTIC_MAX_CHARACTERS = 2000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Kind(enum.StrEnum):
    """What a notice reports."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Report:
    """What a notice says about a mail. `reader` names the rules that understood it."""

    kind: Kind
    status: str | None = None
    code: int | None = None
    diagnostic: str | None = None
    reader: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """`mail_ids` and `message_ids` are candidates, the best first. `diagnostic` may hold personal data."""

    kind: Kind
    mail_ids: tuple[UUID, ...] = ()
    message_ids: tuple[str, ...] = ()
    status: str | None = None  # an enhanced code, or the type of a complaint
    code: int | None = None
    diagnostic: str | None = None
    reader: str = ""  # for measurements: which rules understood the notice


def kept(text: str) -> str | None:
    """The words of a reporter as they are stored: on one line, without control characters, up to the limit."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line.encode("utf-8", "replace").decode()[:DIAGNOSTIC_MAX_CHARACTERS] or None
