"""A file that goes with a mail, as a client sends it, and what its name, type and content ID may be."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from .fields import Line, Spelled, Strict

MAX_ATTACHMENTS = 20

# What file systems take.
_LONGEST_FILENAME_BYTES = 255
# RFC 6838 section 4.2.
_NAME = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_PARAMETER = r'; ?[A-Za-z0-9-]{1,40}=([A-Za-z0-9!#$&^_.+-]{1,100}|"[ !#-\[\]-~]{1,100}")'
# multipart and message cannot be sent in base64 (RFC 2045 section 6.4).
_COMPOSITE = re.compile("(multipart|message)/", re.IGNORECASE)
_WRITTEN_BY_US = re.compile("; ?(name|boundary|filename)=", re.IGNORECASE)


def _without_path(filename: str) -> str:
    """RFC 6266 section 4.3: a recipient must not use a path, so none is sent."""
    if "/" in filename or "\\" in filename or filename in {".", ".."}:
        raise ValueError("Must be a name without a path: no `/`, no `\\`, and neither `.` nor `..`")
    if filename != filename.strip():
        raise ValueError("Must not begin or end with white space")
    if len(filename.encode()) > _LONGEST_FILENAME_BYTES:
        raise ValueError(f"Must be at most {_LONGEST_FILENAME_BYTES} bytes long in UTF-8")
    return filename


def _single(content_type: str) -> str:
    if _COMPOSITE.match(content_type):
        raise ValueError("Must not be `multipart/…` or `message/…`: send a whole mail as `application/octet-stream`")
    if _WRITTEN_BY_US.search(content_type):
        raise ValueError("Must not have the parameters `name`, `filename` or `boundary`: give `filename`")
    return content_type


class Attachment(Strict):
    """A file. With `content_id` it is an inline image, which the HTML shows as `cid:CONTENT_ID`."""

    filename: Annotated[Line, Field(min_length=1), AfterValidator(_without_path)]
    """The name that recipients see: at most 255 bytes in UTF-8, without a path."""
    content_type: Annotated[
        str,
        Field(max_length=200),
        Spelled(f"{_NAME}/{_NAME}({_PARAMETER})*", "Must be a media type like `application/pdf` (RFC 6838)"),
        AfterValidator(_single),
    ]
    """A media type (RFC 6838); `multipart/…` and `message/…` are refused."""
    # Decoded later, because it takes time (`services/mail/intake/attachments.py`).
    content: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})] = Field(
        repr=False, description="Base64 (RFC 4648 section 4) with padding and without line breaks"
    )
    content_id: (
        Annotated[
            str,
            Spelled(
                "[A-Za-z0-9._-]{1,100}(@[A-Za-z0-9.-]{1,100})?",
                "Must be ASCII letters, digits, `.`, `_` and `-`, perhaps followed by `@` and a domain",
            ),
        ]
        | None
    ) = Field(None, description="Unique in the mail; needs HTML")
