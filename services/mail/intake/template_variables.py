"""The declaration of a template and its variables (`template.toml`), and the check of given values."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from shared.contract.addresses import is_plain_text
from shared.contract.fields import OnUncertain
from shared.contract.problems import at, pointer

_MAX_URL = 2000
# Mail clients end a plain-text link at any of these, and white space could start another header or line.
_NOT_IN_URL = re.compile(r"[\s\x00-\x20\x7f-\xa0<>\"\\^`{|}]")
# A text may have several lines; other control characters have no meaning in a mail.
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")


class Variable(BaseModel):
    """One variable: `text` is a string or a number, `url` an http(s) address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required: bool
    kind: Literal["text", "url"]
    description: Annotated[str, Field(min_length=1)]

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump()


class Spec(BaseModel):
    """`template.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: Annotated[str, Field(min_length=1)]
    default_locale: str
    on_uncertain: OnUncertain
    on_uncertain_reason: Annotated[str, Field(min_length=1)]
    variables: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Variable]

    @field_validator("variables")
    @classmethod
    def _refuse_locale(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        if "locale" in variables:
            raise ValueError("`locale` is set by the renderer")
        return variables

    def faults(self, variables: Mapping[str, JsonValue]) -> list[dict[str, str]]:
        """The faults of these values, as entries of a problem's `errors`. Values are never repeated."""
        faults = dict.fromkeys(variables.keys() - self.variables.keys(), "The template has no such variable")
        for key, variable in self.variables.items():
            if key in variables:
                fault = _fault(variable, variables[key])
            else:
                fault = "Is required" if variable.required else None
            if fault:
                faults[key] = fault
        return [at(pointer(["variables", key]), faults[key]) for key in sorted(faults)]


def read_spec(path: Path) -> Spec:
    """Raises ValueError: the file is not a valid template declaration."""
    try:
        return Spec.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def sample(variable: Variable) -> JsonValue:
    """A valid value, to test a template with."""
    return "https://sample.example/1" if variable.kind == "url" else "1"


def breaks_line(value: JsonValue) -> bool:
    """Whether the value cannot be part of one line, such as a subject."""
    return isinstance(value, str) and not is_plain_text(value)


def _fault(variable: Variable, value: JsonValue) -> str | None:
    if variable.kind == "url":
        return None if isinstance(value, str) and _is_url(value) else "Must be an http or https URL without white space"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "Must be a string or a number"
    if isinstance(value, str) and not is_plain_text(value.translate(_LINE_BREAKS)):
        return "Must not contain control characters"
    return None


def _is_url(text: str) -> bool:
    if len(text) > _MAX_URL or _NOT_IN_URL.search(text) or not is_plain_text(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
