"""Verification tokens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.verification_token import TokenRing
from shared.contract.configuration import ConfigurationError
from shared.contract.ids import uuid7
from shared.contract.key_ring import UnknownSigningKeyError

OLD, NEW = "o" * 32, "n" * 32
RING = TokenRing.from_setting(NEW)


def test_a_token_names_the_row_it_was_signed_for() -> None:
    outbox_id = uuid7()
    assert RING.verify(RING.sign(outbox_id, RING.signing_key_id)) == outbox_id


def test_signing_a_row_again_gives_the_same_token() -> None:
    outbox_id = uuid7()
    assert len({RING.sign(outbox_id, RING.signing_key_id) for _ in range(3)}) == 1


def test_a_rotated_key_still_verifies_and_still_signs_what_was_pinned_to_it() -> None:
    outbox_id = uuid7()
    before = TokenRing.from_setting(OLD)
    rotated = TokenRing.from_setting(f"{NEW}, {OLD}")
    token = before.sign(outbox_id, before.signing_key_id)
    assert rotated.verify(token) == outbox_id
    assert rotated.sign(outbox_id, before.signing_key_id) == token
    assert rotated.signing_key_id != before.signing_key_id


def test_a_removed_key_neither_signs_nor_verifies() -> None:
    before = TokenRing.from_setting(OLD)
    token = before.sign(uuid7(), before.signing_key_id)
    assert RING.verify(token) is None
    with pytest.raises(UnknownSigningKeyError, match=before.signing_key_id):
        RING.sign(uuid7(), before.signing_key_id)


@given(st.text(max_size=100))
def test_no_text_that_was_not_signed_verifies(text: str) -> None:
    assert RING.verify(text) is None


@given(st.integers(0, 51), st.integers(1, 255))
def test_changing_any_byte_makes_a_token_unknown(place: int, change: int) -> None:
    token = RING.sign(uuid7(), RING.signing_key_id)
    raw = bytearray(base64.urlsafe_b64decode(token + "=="))
    raw[place] ^= change
    assert RING.verify(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()) is None


def test_only_one_spelling_of_a_token_verifies() -> None:
    token = RING.sign(uuid7(), RING.signing_key_id)
    assert [RING.verify(spelling) for spelling in (f"{token}=", f"{token}==", f" {token}", f"{token}\n")] == [None] * 4


@pytest.mark.parametrize("setting", ["", " , ", "short", f"{OLD},short"])
def test_missing_and_short_secrets_are_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_TOKEN_KEYS"):
        TokenRing.from_setting(setting)
