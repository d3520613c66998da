"""A staged record becomes somebody who can be signed up, or the reason why not. Pure.

A row is read with the same rules as a signup (`accounts.fields`).
"""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, StrictBool, StringConstraints, ValidationError

from shared.contract.addresses import is_plain_text, parse_address
from shared.contract.fields import Locale, Strict, plain_text
from shared.contract.metadata import Metadata

from ..accounts.fields import LONGEST_EMAIL_INPUT, EmailAddress, Name

_LONGEST_EXTERNAL_ID = 255
_MOST_ERRORS = 5
_LONGEST_REASON = 500


class ImportRow(Strict):
    external_id: Annotated[
        str, StringConstraints(min_length=1, max_length=_LONGEST_EXTERNAL_ID, strict=True), AfterValidator(plain_text)
    ] = Field(description="What the source calls this user; with the source it names them once and for ever")
    email: EmailAddress
    name: Name
    locale: Locale | None = None
    verified: StrictBool | None = Field(None, description="The address is known to be theirs: a welcome is owed")
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    line: int
    external_id: str
    email: str
    email_key: str
    name: str
    locale: str
    verified: bool
    metadata: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What could be read of it is kept for the report."""

    line: int
    reason: str
    external_id: str | None = None
    email: str | None = None
    email_key: str | None = None


def read_row(line: int, raw: bytes) -> Candidate | Unreadable:
    try:
        said = orjson.loads(raw)
    except ValueError:
        return Unreadable(line, "The line is not valid JSON in UTF-8")
    if not isinstance(said, dict):
        return Unreadable(line, "The line is not a JSON object")
    try:
        row = ImportRow.model_validate(said)
    except ValidationError as error:
        return _unreadable(line, error, said)
    return Candidate(
        line,
        row.external_id,
        row.email.email,
        row.email.key,
        row.name,
        row.locale or "en",
        bool(row.verified),
        orjson.dumps(row.metadata or {}).decode(),
    )


def _unreadable(line: int, error: ValidationError, said: dict[str, Any]) -> Unreadable:
    email = _storable(said.get("email"), LONGEST_EMAIL_INPUT)
    try:
        key = parse_address(email).key if email else None
    except ValueError:
        key = None
    return Unreadable(line, _reason(error), _storable(said.get("external_id"), _LONGEST_EXTERNAL_ID), email, key)


def _reason(error: ValidationError) -> str:
    """Each field that is wrong and why; never what was in it."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    sentences = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'row'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:_MOST_ERRORS]
    ]
    # Names of unknown fields stand in it, which may be anything.
    return "; ".join(sentences).replace("\0", "")[:_LONGEST_REASON]


def _storable(value: Any, longest: int) -> str | None:
    return value if isinstance(value, str) and len(value) <= longest and is_plain_text(value) else None
