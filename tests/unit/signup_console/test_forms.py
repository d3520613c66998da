"""What a browser sends is read field by field, and what is wrong names its field."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.console.forms import Fields, as_uuid
from services.signup.console.search import as_like, made_at
from services.signup.console.sign_in import own_path
from shared.contract.ids import uuid7
from shared.contract.problems import Problem


def _fields(**values: str) -> Fields:
    return Fields(list(values.items()))


def test_blank_fields_count_as_absent_and_the_last_of_many_counts() -> None:
    fields = Fields([("q", " "), ("q", " a "), ("q", "b")])
    assert fields.texts("q") == ["a", "b"]
    assert fields.text("q") == "b"
    assert Fields([("q", " ")]).text("q") == ""
    assert Fields([("q", " ")]).uuid("q") is None


@pytest.mark.parametrize(
    "read",
    [
        lambda fields: fields.text("field", longest=3),
        lambda fields: fields.choice("field", ("a", "b")),
        lambda fields: fields.choices("field", ("a", "b")),
        lambda fields: fields.uuid("field"),
        lambda fields: fields.time("field"),
        lambda fields: fields.address("field"),
        lambda fields: fields.required("other"),
    ],
)
def test_what_is_wrong_names_its_field(read: Callable[[Fields], Any]) -> None:
    with pytest.raises(Problem) as caught:
        read(_fields(field="none of it"))
    assert caught.value.errors[0]["parameter"] in {"field", "other"}


@pytest.mark.parametrize("text", ["a\nb", "a\u202eb", ""])
def test_a_reason_is_text_on_one_line(text: str) -> None:
    with pytest.raises(Problem):
        _fields(reason=text).required("reason")


@pytest.mark.parametrize(("name", "value"), [("q", "\x00"), ("\ud800", "x")])
def test_what_no_database_can_hold_is_refused_at_once(name: str, value: str) -> None:
    with pytest.raises(Problem):
        Fields([(name, value)])


@pytest.mark.parametrize("text", ["2026-01-31T12:00", "2026-01-31T12:00Z", "2026-01-31T13:00+01:00"])
def test_a_time_without_an_offset_is_utc(text: str) -> None:
    assert _fields(after=text).time("after") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_time_beyond_all_years_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        _fields(after=text).time("after")


def test_an_id_has_one_spelling() -> None:
    one = uuid7()
    assert as_uuid(str(one).upper()) == one
    for text in (one.hex, f"{{{one}}}", f"urn:uuid:{one}", "", "x" * 36):
        assert as_uuid(text) is None


def test_a_uuid7_tells_when_it_was_made_if_a_clock_made_it() -> None:
    made = made_at(str(uuid7()))
    assert made
    assert abs((datetime.now(UTC) - made).total_seconds()) < 60
    assert made_at("ffffffff-ffff-7fff-bfff-ffffffffffff") is None
    assert made_at("6ba7b810-9dad-41d1-80b4-00c04fd430c8") is None
    assert made_at("order-7") is None


@given(st.text())
def test_signs_of_a_pattern_are_escaped(text: str) -> None:
    like = as_like(text)
    assert like.replace("\\\\", "").replace("\\%", "").replace("\\_", "").count("%") == 0
    assert like.count("\\") >= sum(map(text.count, "%_\\"))


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/console", "//evil.example/console", "/\\evil.example", "/consoles", "/console/../v1",
        "/console/%2e%2e/v1", "/console\\..", "/console//evil.example", "javascript:alert(1)", "/v1/signups", "",
        "/console\n",
    ],
)  # fmt: skip
def test_the_way_back_after_signing_in_stays_in_the_console(path: str) -> None:
    assert own_path(path) == "/console"


@pytest.mark.parametrize(
    "path", ["/console", "/console?a=b", "/console/people/0198c5f2-1d6e", "/console/mails?state=a&q=%2F"]
)
def test_the_way_back_leads_to_the_page_that_was_asked_for(path: str) -> None:
    assert own_path(path) == path
