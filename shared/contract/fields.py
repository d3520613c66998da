"""Request fields, parsed the same way in both services."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from .addresses import is_plain_text, parse_address


def plain_text(text: str) -> str:
    if not is_plain_text(text):
        raise ValueError("Must not contain control characters or line breaks")
    return text


def storable_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("Must not contain NUL characters")
    return text


def normalized_email(text: str) -> str:
    return parse_address(text).email


def misplaced(field: str, sentence: str) -> PydanticCustomError:
    """Raised by validators of a whole body, so that the problem points at a field (error_handlers.as_problem_error)."""
    return PydanticCustomError("misplaced", sentence, {"field": field})


def _request_id(text: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", text):
        raise ValueError("Must be 1 to 255 printable ASCII characters")
    return text


def _locale(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}", text):
        raise ValueError("Must be a language tag like `en` or `de-AT` (BCP 47)")
    return text.replace("_", "-")


RequestId = Annotated[str, AfterValidator(_request_id)]

Email = Annotated[str, Field(max_length=320), AfterValidator(normalized_email)]

Line = Annotated[str, AfterValidator(plain_text)]

Text = Annotated[str, AfterValidator(storable_text)]

Locale = Annotated[str, Field(max_length=35), AfterValidator(_locale)]

Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(plain_text)]

Lane = Literal["live", "bulk"]

OnUncertain = Literal["hold", "resend"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Recipient(Strict):
    email: Email
    name: Annotated[Line, Field(max_length=200)] | None = None
