"""Fingerprints of signup details, and validation of the request body."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.signup.accounts.sign_up import Details
from services.signup.http.schemas import SignupRequest
from shared.contract import addresses
from shared.contract.addresses import parse_address

ASA = Details(parse_address("asa@example.org"), "Åsa", "sv", {"a": 1, "b": {"c": 2, "d": 3}})


def test_the_order_of_keys_and_the_spelling_of_the_domain_change_no_fingerprint() -> None:
    first = Details(parse_address("asa@bücher.example"), "Åsa", "sv", {"b": {"d": 3, "c": 2}, "a": 1})
    same = Details(parse_address("asa@xn--bcher-kva.EXAMPLE"), "Åsa", "sv", {"a": 1, "b": {"c": 2, "d": 3}})
    assert first.fingerprint() == same.fingerprint()


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("email", Details(parse_address("bo@example.org"), "Åsa", "sv", ASA.metadata)),
        ("name", Details(ASA.address, "Asa", "sv", ASA.metadata)),
        ("locale", Details(ASA.address, "Åsa", "en", ASA.metadata)),
        ("metadata", Details(ASA.address, "Åsa", "sv", {"a": 2})),
    ],
)
def test_a_changed_field_changes_the_fingerprint_and_is_named(field: str, other: Details) -> None:
    assert other.fingerprint() != ASA.fingerprint()
    first, second = ASA.field_prints(), other.field_prints()
    assert [name for name in first if first[name] != second[name]] == [field]


def test_field_prints_contain_no_values() -> None:
    assert not any(word in str(ASA.field_prints()) for word in ("asa", "Åsa", "example"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " \u00a0\u2003 "),
        ("name", "\u200b\u2060"),
        ("name", "Bo\r\nBcc: x@example.org"),
        ("name", "Bo\x00"),
        ("name", "\u202eoB"),
        ("name", "x" * 201),
        ("name", 7),
        ("email", "bo"),
        ("email", "bo@localhost"),
        ("email", "Bo <bo@example.org>"),
        ("email", "bo@example.org\n"),
        ("email", "bo@example.org\r\nBcc: x@example.org"),
        ("email", "a" * 65 + "@example.org"),
        ("email", "x@" + "y" * 400),
        ("email", None),
        ("locale", "x"),
        ("locale", "en_US!"),
        ("metadata", []),
        ("metadata", {"a": "x" * 5000}),
        ("password", "secret"),
    ],
)
def test_invalid_input_is_refused_naming_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        SignupRequest.model_validate({"email": "bo@example.org", "name": "Bo", field: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [field]


def test_a_name_is_stripped_and_may_be_two_hundred_characters_of_any_script() -> None:
    for name in ("X" * 200, "山田太郎", "O'Brien-Şahin", "👩‍🔬 Ada"):
        body = {"email": "bo@example.org", "name": f"  {name} "}
        assert SignupRequest.model_validate(body).name == name


_PLAIN_CHARACTERS = "aAbZ09-._+'=!#@x"
_ENDINGS = ("com", "example", "test", "localhost", "invalid", "onion", "arpa", "c", "co1", "xn--p1ai", "COM")
_addresses = st.builds(
    lambda local, domain, ending: f"{local}@{domain}.{ending}",
    st.text(_PLAIN_CHARACTERS, max_size=8) | st.from_regex(r"[a-z.]{60,68}", fullmatch=True),
    st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True) | st.text("ab-.", min_size=55, max_size=200),
    st.sampled_from(_ENDINGS),
)


@given(_addresses)
def test_the_fast_address_parser_agrees_with_the_thorough_one(text: str) -> None:
    def read(reader: Any) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            return str(error)

    assert read(parse_address) == read(addresses._parse_thoroughly)
