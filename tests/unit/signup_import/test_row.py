"""The row parser: a candidate, or a reason that names the field and repeats no value."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.signup.imports.row_parser import Candidate, Unreadable, read_row

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_a_valid_row_becomes_a_candidate() -> None:
    fields = {
        "external_id": "7",
        "email": "Asa@BÜCHER.example",
        "name": " Åsa ",
        "locale": "de_AT",
        "verified": True,
        "metadata": {"plan": "gold"},
    }
    assert read_row(3, orjson.dumps(fields)) == Candidate(
        *(3, "7", "Asa@bücher.example", "asa@xn--bcher-kva.example", "Åsa", "de-AT"),
        verified=True,
        metadata='{"plan":"gold"}',
    )


@given(st.dictionaries(st.sampled_from(["external_id", "email", "name", "locale", "verified", "metadata"]), JSON))
def test_any_json_is_a_candidate_or_has_a_reason(fields: dict[str, object]) -> None:
    raw = orjson.dumps(fields, option=orjson.OPT_PASSTHROUGH_DATACLASS) if _writable(fields) else b"{"
    row = read_row(1, raw)
    assert isinstance(row, Candidate) or (isinstance(row, Unreadable) and row.reason)


def _writable(fields: object) -> bool:
    try:
        orjson.dumps(fields)
    except TypeError:
        return False
    return True


def test_the_report_keeps_the_address_of_an_invalid_row_and_the_key_it_is_erased_by() -> None:
    row = read_row(1, b'{"external_id": "7", "email": "Asa@X.example", "name": ""}')
    assert isinstance(row, Unreadable)
    assert (row.external_id, row.email, row.email_key) == ("7", "Asa@X.example", "asa@x.example")
    assert row.reason.startswith("name: ")


def test_a_reason_repeats_no_value() -> None:
    row = read_row(1, b'{"external_id": "secret\\n7", "email": "secret", "name": "secret\\u0000", "locale": "!secret"}')
    assert isinstance(row, Unreadable)
    assert "secret" not in row.reason
    assert [part.partition(":")[0] for part in row.reason.split("; ")] == ["external_id", "email", "name", "locale"]
