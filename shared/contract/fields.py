"""Request fields, parsed the same way in both services.

Text that PostgreSQL cannot hold is no concern of a field: see `storable_text`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from .addresses import is_plain_text, parse_address


def plain_text(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("Must not contain control characters, line breaks or bidirectional overrides")
    return text


def normalized_email(text: str) -> str:
    return parse_address(text).email


def misplaced(field: str, sentence: str) -> PydanticCustomError:
    """Raised by validators of a whole body, so that the problem points at a field (error_handlers.as_problem_error)."""
    return PydanticCustomError("misplaced", sentence, {"field": field})


@dataclass(frozen=True)
class Spelled:
    """The whole string matches `pattern`, or `sentence` says what it must be. OpenAPI shows the pattern."""

    pattern: str
    sentence: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.sentence)
        return text


def _with_hyphens(locale: str) -> str:
    return locale.replace("_", "-")


RequestId = Annotated[str, Spelled(r"[ -~]{1,255}", "Must be 1 to 255 printable ASCII characters")]

Email = Annotated[str, Field(max_length=320), AfterValidator(normalized_email)]

Line = Annotated[str, AfterValidator(plain_text)]

Locale = Annotated[
    str,
    Field(max_length=35),
    Spelled(
        "[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}", "Must be a language tag like `en` or `de-AT` (BCP 47), in ASCII"
    ),
    AfterValidator(_with_hyphens),
]

TemplateName = Annotated[
    str,
    Field(max_length=100),
    Spelled("[a-z0-9][a-z0-9_-]*", "Must be lower-case letters, digits, `-` and `_`, and begin with a letter or digit"),
]

Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(plain_text)]

Lane = Literal["live", "bulk"]

OnUncertain = Literal["hold", "resend"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Recipient(Strict):
    """An address, with a name beside it."""

    email: Email
    """The address, with a Unicode or an A-label domain. Stored normalized."""
    name: Annotated[Line, Field(max_length=200)] | None = None
    """The name beside the address, at most 200 characters."""
