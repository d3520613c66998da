"""The language that a browser prefers, by its Accept-Language header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.http.pages.accept_language import preferred

OFFERED = ("en", "ar", "de", "es", "fr", "pt")


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("pt-BR", "pt"),
        ("pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "pt"),
        ("ar-EG , ar;q=0.9", "ar"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("zh", "en"),
        ("zh-Hant-TW, zh;q=0.9, es;q=0.1", "es"),
        ("fr-Latn-CA-x-mine", "fr"),
        ("de;q=0.5, es;q=0.8", "es"),
        ("de;q=0.8, es;q=0.8", "de"),  # the first of equals
        ("de ; q=0.1 , es ; Q=0.2", "es"),
        ("*", "en"),
        ("*, de;q=0.5", "en"),
        ("zh, *;q=0.5, de;q=0.1", "en"),
        ("den, d, e-n", "en"),
    ],
)
def test_the_language_of_the_highest_weight_that_exists_is_chosen(header: str, chosen: str) -> None:
    assert preferred(header, OFFERED) == chosen


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("de;q=0, es;q=0.1", "es"),
        ("de;q=0.000, fr;q=0.001", "fr"),
        ("en;q=0, *", "ar"),  # any but English
        ("de-AT, de;q=0, fr;q=0.5", "fr"),
        ("de-AT;q=0, de;q=0.5", "de"),
        ("de-AT;q=0", "en"),  # asks for no German
        ("fr, *;q=0", "fr"),
        ("zh, *;q=0", "en"),
        ("en;q=0", "en"),  # a page helps more than a refusal
    ],
)
def test_a_weight_of_zero_refuses_a_language(header: str, chosen: str) -> None:
    assert preferred(header, OFFERED) == chosen


@pytest.mark.parametrize(
    "broken",
    [
        *["de;q=2", "de;q=1.1", "de;q=0.1234", "de;q=-1", "de;q=", "de;q=a", "de;", "de;;q=1", "de;level=1"],
        *["de_AT", "-de", "de-", "de--AT", "d e", "**", "dé", "\xa0de", "de\x00", "'de'", "deutschland"],
        *["de-" + "-".join("a" * 20), "d" * 10_000],
    ],
)
def test_a_range_with_broken_syntax_is_skipped_and_the_others_count(broken: str) -> None:
    assert preferred(broken, OFFERED) == "en"
    assert preferred(f"{broken}, ,pt;q=0.1", OFFERED) == "pt"


def test_a_regional_language_is_chosen_only_by_its_own_name_or_a_longer_one() -> None:
    offered = ("en", "pt", "pt-BR")
    chosen = {header: preferred(header, offered) for header in ("pt", "pt-PT", "pt-br", "pt-BR-1990", "pt;q=0,pt-BR")}
    assert chosen == {"pt": "pt", "pt-PT": "pt", "pt-br": "pt-BR", "pt-BR-1990": "pt-BR", "pt;q=0,pt-BR": "en"}


def test_only_the_first_fifty_ranges_are_read() -> None:
    assert preferred("zh," * 49 + "de", OFFERED) == "de"
    assert preferred("zh," * 50 + "de", OFFERED) == "en"


@given(st.text(st.characters(max_codepoint=255)))
def test_any_header_gives_a_language_that_exists(header: str) -> None:
    assert preferred(header, OFFERED) in OFFERED


RANGE = st.sampled_from(["*", "en", "de", "pt-BR", "AR-eg", "zh", "x", ""])
WEIGHT = st.sampled_from(["", ";q=0", ";q=1", ";q=0.5", " ; q=0.001", ";q=7", ";"])


@given(st.lists(st.builds(str.__add__, RANGE, WEIGHT)).map(",".join))
def test_any_list_of_ranges_gives_a_language_that_is_not_refused(header: str) -> None:
    chosen = preferred(header, OFFERED)
    assert chosen in OFFERED
    assert chosen == OFFERED[0] or f"{chosen};q=0," not in f"{header},"
