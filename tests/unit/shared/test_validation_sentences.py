"""Sentences about wrong values: the unit follows the value, whatever pydantic calls it."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from shared.contract.fields import Line
from shared.contract.validation_sentences import sentence

Texts = Annotated[list[str], Field(min_length=1, max_length=2)]
Named = Annotated[dict[str, str], AfterValidator(dict), Field(min_length=1, max_length=1)]


def _said(kind: Any, value: Any, *, repeatable: bool = False) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (error,) = caught.value.errors()
    return sentence(error, repeatable=repeatable)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Annotated[str, Field(max_length=500)], "x" * 501, "Must be at most 500 characters long"),
        (Annotated[Line, Field(max_length=500)], "x" * 900, "Must be at most 500 characters long"),
        (Annotated[Line, Field(max_length=1)], "xx", "Must be at most 1 character long"),
        (Annotated[Line, Field(min_length=3)], "x", "Must be at least 3 characters long"),
        (Annotated[Line, Field(min_length=1)], "", "Must not be empty"),
        (Annotated[str, Field(min_length=1)], "", "Must not be empty"),
        (Texts, ["x"] * 3, "Must have at most 2 items"),
        (Texts, [], "Must have at least 1 item"),
        (Named, {"a": "x", "b": "y"}, "Must have at most 1 field"),
        (Named, {}, "Must have at least 1 field"),
        (Literal["live"], "x", "Must be `live`"),
        (Literal["live", "bulk"], "x", "Must be one of `live`, `bulk`"),
    ],
)
def test_a_length_is_counted_in_characters_items_or_fields(kind: Any, value: Any, expected: str) -> None:
    assert _said(kind, value) == expected


def test_a_parameter_is_counted_in_times() -> None:
    assert _said(Texts, ["x"] * 3, repeatable=True) == "Must be given at most 2 times"
    assert _said(Texts, [], repeatable=True) == "Must be given at least 1 time"
