"""What is wrong with a value and what is allowed, in our own words and in the unit that a caller counts in.

pydantic's own sentences speak of Python ("dictionary", "items after validation"). Input is never repeated: it may be a
secret. tests/contract/validation-sentences.md shows every sentence of both services, to be read.
"""

import re
from collections.abc import Mapping
from typing import Any

_QUOTED = re.compile(r"'([^']*)'")
_A_WHOLE_NUMBER = "Must be a whole number"
_A_TIME = "Must be an RFC 3339 time that exists, with an offset, like 2026-01-31T12:00:00Z"
_A_DATE = "Must be a date that exists, like 2026-01-31"

# By pydantic's error type; `{…}` are members of the error's `ctx`.
_SENTENCES = {
    "missing": "Is required",
    "extra_forbidden": "There is no such field",
    "string_type": "Must be a string",
    "string_unicode": "Must be Unicode text",
    "string_pattern_mismatch": "Must match the regular expression `{pattern}`",
    "int_type": _A_WHOLE_NUMBER,
    "int_parsing": _A_WHOLE_NUMBER,
    "int_parsing_size": _A_WHOLE_NUMBER,
    "int_from_float": _A_WHOLE_NUMBER,
    "float_type": "Must be a number",
    "float_parsing": "Must be a number",
    "finite_number": "Must be a finite number",
    "bool_type": "Must be `true` or `false`",
    "bool_parsing": "Must be `true` or `false`",
    "list_type": "Must be a list",
    "tuple_type": "Must be a list",
    "dict_type": "Must be an object",
    "model_type": "Must be an object",
    "model_attributes_type": "Must be an object",
    "greater_than": "Must be more than {gt}",
    "greater_than_equal": "Must be at least {ge}",
    "less_than": "Must be less than {lt}",
    "less_than_equal": "Must be at most {le}",
    "uuid_type": "Must be a UUID",
    "uuid_parsing": "Must be a UUID",
    "datetime_type": _A_TIME,
    "datetime_parsing": _A_TIME,
    "datetime_from_date_parsing": _A_TIME,
    "datetime_object_invalid": _A_TIME,
    "timezone_aware": _A_TIME,
    "date_type": _A_DATE,
    "date_parsing": _A_DATE,
    "date_from_datetime_parsing": _A_DATE,
    "date_from_datetime_inexact": _A_DATE,
}
_LENGTHS = frozenset(["string_too_short", "too_short", "string_too_long", "too_long"])
_CHOICES = frozenset(["literal_error", "enum"])


def sentence(error: Mapping[str, Any], *, repeatable: bool = False) -> str:
    """The sentence for an entry of pydantic's `errors()`. `repeatable`: lists are parameters given several times."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _LENGTHS:
        return _length(error["input"], context, repeatable=repeatable)
    if kind in _CHOICES:
        return _choice(_QUOTED.findall(context["expected"]))
    if kind in _SENTENCES:
        return _SENTENCES[kind].format_map(context)
    # Our own validators; pydantic puts the class of the exception in front.
    return str(context["error"]) if "error" in context else str(error["msg"])


def _length(value: Any, limits: Mapping[str, Any], *, repeatable: bool) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    if isinstance(value, str):
        return "Must not be empty" if least == 1 else f"Must be {_amount(least, most, 'character')} long"
    if repeatable:
        return f"Must be given {_amount(least, most, 'time')}"
    unit = "field" if isinstance(value, dict) else "item"
    return f"Must have {_amount(least, most, unit)}"


def _amount(least: int | None, most: int | None, unit: str) -> str:
    bound, number = ("at most", most) if least is None else ("at least", least)
    return f"{bound} {number} {unit}{'' if number == 1 else 's'}"


def _choice(allowed: list[str]) -> str:
    quoted = [f"`{choice}`" for choice in allowed]
    return f"Must be {quoted[0]}" if len(quoted) == 1 else f"Must be one of {', '.join(quoted)}"
