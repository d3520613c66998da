"""Parses a staged record into a candidate for signup, or a reason why it is unreadable. Pure.

A row follows the same rules as a signup (`accounts.fields`).
"""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, StrictBool, StringConstraints, ValidationError

from shared.contract.addresses import is_plain_text, parse_address
from shared.contract.fields import Locale, Strict, plain_text
from shared.contract.metadata import Metadata

from ..accounts.fields import LONGEST_EMAIL_INPUT, EmailAddress, Name

_MAX_EXTERNAL_ID = 255
_MAX_ERRORS = 5
_MAX_REASON_LENGTH = 500


class ImportRow(Strict):
    external_id: Annotated[
        str, StringConstraints(min_length=1, max_length=_MAX_EXTERNAL_ID, strict=True), AfterValidator(plain_text)
    ] = Field(description="The user's ID at the source. Source and external ID identify the user permanently")
    email: EmailAddress
    name: Name
    locale: Locale | None = None
    verified: StrictBool | None = Field(None, description="The source verified the address: only a welcome is owed")
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
    """The readable fields are kept for the report."""

    line: int
    reason: str
    external_id: str | None = None
    email: str | None = None
    email_key: str | None = None


def read_row(line: int, raw: bytes) -> Candidate | Unreadable:
    try:
        fields = orjson.loads(raw)
    except ValueError:
        return Unreadable(line, "The line is not valid JSON in UTF-8")
    if not isinstance(fields, dict):
        return Unreadable(line, "The line is not a JSON object")
    try:
        row = ImportRow.model_validate(fields)
    except ValidationError as error:
        return _unreadable(line, error, fields)
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


def _unreadable(line: int, error: ValidationError, fields: dict[str, Any]) -> Unreadable:
    email = _storable(fields.get("email"), LONGEST_EMAIL_INPUT)
    try:
        key = parse_address(email).key if email else None
    except ValueError:
        key = None
    return Unreadable(line, _reason(error), _storable(fields.get("external_id"), _MAX_EXTERNAL_ID), email, key)


def _reason(error: ValidationError) -> str:
    """Each wrong field and why. Values are never repeated."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    sentences = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'row'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:_MAX_ERRORS]
    ]
    # Names of unknown fields are included and may contain any characters.
    return "; ".join(sentences).replace("\0", "")[:_MAX_REASON_LENGTH]


def _storable(value: Any, max_length: int) -> str | None:
    return value if isinstance(value, str) and len(value) <= max_length and is_plain_text(value) else None
