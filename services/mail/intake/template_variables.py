"""The declaration of a template and its variables (`template.toml`), and the check of given values."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, field_validator

from shared.contract.addresses import is_plain_text
from shared.contract.fields import OnUncertain
from shared.contract.problems import at, pointer
from shared.process.template_faults import fault_at, refusal

_MAX_URL = 2000
# Mail clients end a plain-text link at any of these, and white space could start another header or line.
_NOT_IN_URL = re.compile(r"[\s\x00-\x20\x7f-\xa0<>\"\\^`{|}]")
# How tomllib tells the place of a fault.
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
# A text may have several lines; other control characters have no meaning in a mail.
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")


Kind: TypeAlias = Literal["text", "url"]


class Variable(BaseModel):
    """One variable: `text` is a string or a number, `url` an http(s) address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required: bool
    kind: Kind
    description: Annotated[str, Field(min_length=1)]
    # For previews.
    example: Any = None

    @field_validator("example")
    @classmethod
    def _example_is_valid(cls, value: JsonValue, info: ValidationInfo) -> JsonValue:
        kind = info.data.get("kind")  # none when that is what is wrong
        if value is not None and kind and (fault := _fault(kind, value)):
            raise ValueError(fault)
        return value

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


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
                fault = _fault(variable.kind, variables[key])
            else:
                fault = "Is required" if variable.required else None
            if fault:
                faults[key] = fault
        return [at(pointer(["variables", key]), faults[key]) for key in sorted(faults)]


def read_spec(path: Path) -> Spec:
    """Raises ConfigurationError, with file and line: the file is not a valid template declaration."""
    try:
        text = path.read_text("utf-8")
        return Spec.model_validate(tomllib.loads(text))
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(error, path, "the declaration cannot be read") from None
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = int(place[1]) if place and place[1] else len(text.splitlines())
        raise fault_at(path, line, f"not TOML: {_TOML_PLACE.sub('', str(error))}") from None
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        raise fault_at(path, line_of(text, keys), f"{'.'.join(keys)}: {message}") from None


def line_of(toml: str, keys: Sequence[str]) -> int:
    """The line that names the innermost of the nested `keys` that the file has; 1 when it has none."""
    found, end = 0, len(toml)
    for key in keys:
        name = re.escape(key)
        place = re.compile(rf"^[ \t]*(?:\[[^\]\n]*\b{name}\b|{name}\s*=)", re.MULTILINE).search(toml, found, end)
        if place is None:
            break
        found = place.start()
        other_table = re.compile(rf"^[ \t]*\[(?![^\]\n]*\b{name}\b)", re.MULTILINE).search(toml, place.end(), end)
        end = other_table.start() if other_table else end
    return toml.count("\n", 0, found) + 1


def sample(variable: Variable) -> JsonValue:
    """A valid value, to test a template with."""
    return "https://sample.example/1" if variable.kind == "url" else "1"


def example(variable: Variable) -> JsonValue:
    """The value that a preview shows: the declared example, or a sample."""
    return sample(variable) if variable.example is None else variable.example


def refuse_narrower(own: Spec, shipped: Spec, path: Path) -> None:
    """Refuse a declaration in the place of a shipped one that takes less: the services send what the shipped one takes.

    Raises:
        ConfigurationError: a variable is not declared, is of a narrower kind, or is newly required.
    """
    text = path.read_text("utf-8")
    for key in [*shipped.variables, *(own.variables.keys() - shipped.variables.keys())]:
        theirs, ours = own.variables.get(key), shipped.variables.get(key)
        if theirs is None:
            raise fault_at(path, line_of(text, []), f"variables.{key} is missing: the shipped template declares it")
        if theirs.required and not (ours and ours.required):
            line = line_of(text, ["variables", key, "required"])
            raise fault_at(path, line, f"variables.{key} cannot be required: in the shipped template it is not")
        if ours and theirs.kind == "url" != ours.kind:
            line = line_of(text, ["variables", key, "kind"])
            raise fault_at(path, line, f"variables.{key} must be a {ours.kind}, as in the shipped template")


def breaks_line(value: JsonValue) -> bool:
    """Whether the value cannot be part of one line, such as a subject."""
    return isinstance(value, str) and not is_plain_text(value)


def _fault(kind: Kind, value: JsonValue) -> str | None:
    if kind == "url":
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
