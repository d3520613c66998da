"""Text that PostgreSQL can hold: which characters, and where in JSON the others stand."""

import json
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.storable_text import faults, is_storable, may_be_unstorable, with_nul_for_lone_surrogates

# Pieces that escapes are made of, in every order.
PIECES = ["\\\\", "\\ud83d", "\\uDE00", "\\u0000", "\\uD800", "\\n", '\\"', "ud800", "u0000", "x", "\\u0041"]
SURROGATES = range(0xD800, 0xE000)


def test_exactly_nul_and_surrogates_are_not_storable() -> None:
    for number in range(0x110000):
        char = chr(number)
        assert is_storable(f"a{char}b") == (number != 0 and unicodedata.category(char) != "Cs"), hex(number)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_each_unpaired_surrogate_in_json_becomes_nul_and_the_rest_stays(escaped: str) -> None:
    text = f'{{"a": "{escaped}"}}'
    read = orjson.loads(with_nul_for_lone_surrogates(text.encode()))["a"]
    lenient = json.loads(text)["a"]
    assert read == "".join("\0" if ord(char) in SURROGATES else char for char in lenient)
    assert bool(list(faults(lenient))) == bool(list(faults(read)))
    assert may_be_unstorable(text.encode()) or is_storable(lenient), "what is refused is always looked for"


def test_bytes_that_are_no_json_stay_as_they_are() -> None:
    assert with_nul_for_lone_surrogates(b'{"a": "\0\\ud800"}') == b'{"a": "\0\\ud800"}'


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("a\0", [()]),
        ({"a": "\ud800", "b": ["x", "\0"], "c": 1, "d": None}, [("a",), ("b", 1)]),
        ({"a\0": 1}, [()]),
        ({"a": {"\0": "\0"}}, [("a",), ("a", "\ufffd")]),
        ({"a": "\\u0000", "b": "\U0001f600", "c": ""}, []),
    ],
)
def test_a_fault_names_the_place(value: Any, paths: list[tuple[object, ...]]) -> None:
    assert [path for path, _ in faults(value)] == paths


def test_nesting_deeper_than_the_stack_is_searched_to_the_bottom() -> None:
    value: Any = "\0"
    for _ in range(5000):
        value = [value]
    ((path, _),) = faults(value)
    assert path == (0,) * 5000
