"""Parses a staged record into a candidate for signup, or a reason why it is unreadable. Pure.

A row follows the same rules as a signup (`accounts.fields`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, TypeAlias

import orjson
from pydantic import AfterValidator, Field, StrictBool, StringConstraints, ValidationError

from shared.contract.addresses import is_plain_text, parse_address
from shared.contract.fields import Locale, Strict, plain_text
from shared.contract.metadata import Metadata
from shared.contract.storable_text import faults as unstorable
from shared.contract.storable_text import may_be_unstorable, shown
from shared.contract.validation_sentences import sentence

from ..accounts.fields import LONGEST_EMAIL_INPUT, EmailAddress, Name

_MAX_EXTERNAL_ID = 255
_MAX_ERRORS = 5
_MAX_REASON_LENGTH = 500

# Path and sentence.
_Fault: TypeAlias = tuple[Sequence[object], str]


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
        return _unreadable(line, [(fault["loc"], sentence(fault)) for fault in error.errors(include_url=False)], fields)
    if may_be_unstorable(raw) and (faults := list(islice(unstorable(fields), _MAX_ERRORS))):
        return _unreadable(line, faults, fields)
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


def _unreadable(line: int, faults: Sequence[_Fault], fields: dict[str, Any]) -> Unreadable:
    email = _storable(fields.get("email"), LONGEST_EMAIL_INPUT)
    try:
        key = parse_address(email).key if email else None
    except ValueError:
        key = None
    return Unreadable(line, _reason(faults), _storable(fields.get("external_id"), _MAX_EXTERNAL_ID), email, key)


def _reason(faults: Sequence[_Fault]) -> str:
    """Each wrong field and why. Values are never repeated."""
    reasons = [f"{'.'.join(map(str, path)) or 'row'}: {why}" for path, why in faults[:_MAX_ERRORS]]
    # Names of unknown fields are included and may contain any characters.
    return shown("; ".join(reasons))[:_MAX_REASON_LENGTH]


def _storable(value: Any, max_length: int) -> str | None:
    return value if isinstance(value, str) and len(value) <= max_length and is_plain_text(value) else None
