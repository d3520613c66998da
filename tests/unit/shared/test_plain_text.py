"""Characters of names and subjects, compared with Unicode's own categories."""

import unicodedata

from shared.contract.addresses import is_plain_text

BIDIRECTIONAL_OVERRIDES = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"


def test_exactly_control_separator_surrogate_and_overriding_characters_are_refused() -> None:
    for number in range(0x110000):
        char = chr(number)
        forbidden = unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"} or char in BIDIRECTIONAL_OVERRIDES
        assert is_plain_text(char) != forbidden, hex(number)
