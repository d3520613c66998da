"""List headers, with which mailbox providers let people unsubscribe: sent as given, or refused at accept."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.mail.delivery.message import build
from shared.contract.mails import MailRequest
from tests.unit.mail_content.mails import header_lines, mail

ONE_CLICK = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
URL = "<https://shop.example/u?token=" + "a" * 80 + "&q==?x?=>"
MAILTO = "<mailto:leave@shop.example?subject=leave>"


def _request(headers: dict[str, str]) -> MailRequest:
    content: dict[str, Any] = {"to": {"email": "a@x.example"}, "subject": "S", "text": "T"}
    return MailRequest(headers=headers, **content)


def _field(name: str, value: str) -> list[str]:
    """The lines of one field in a mail that was requested with it."""
    headers = _request({name: value}).headers
    assert headers is not None
    lines = [line.decode() for line in header_lines(build(mail(headers=headers)))]
    start = next(place for place, line in enumerate(lines) if line.startswith(f"{name}:"))
    end = next((place for place, line in enumerate(lines) if place > start and not line.startswith(" ")), len(lines))
    return lines[start:end]


def test_mails_have_no_unsubscribe_headers_unless_requested() -> None:
    assert b"list-unsubscribe" not in build(mail()).lower()


def test_a_short_header_stays_on_its_line() -> None:
    assert _field("List-Unsubscribe", MAILTO) == [f"List-Unsubscribe: {MAILTO}"]
    both = _request({"List-Unsubscribe": "<https://x.example/u>", **ONE_CLICK}).headers
    assert both is not None
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in build(mail(headers=both))


@pytest.mark.parametrize("separator", [",", ", ", ",   "])
def test_a_long_header_is_folded_at_its_commas_and_its_urls_stay_whole(separator: str) -> None:
    given = separator.join([MAILTO, URL, MAILTO, MAILTO])
    assert _field("List-Unsubscribe", given) == [
        f"List-Unsubscribe: {MAILTO},",
        f" {URL},",
        f" {MAILTO},",
        f" {MAILTO}",
    ]


def test_urls_that_look_like_encoded_words_are_not_encoded() -> None:
    assert _field("List-Help", "<https://x.example/=?utf-8?q?x?=>") == ["List-Help: <https://x.example/=?utf-8?q?x?=>"]


@pytest.mark.parametrize(
    "headers",
    [
        {"List-Unsubscribe": "https://x.example/u"},
        {"List-Unsubscribe": "<https://bücher.example/u>"},
        {"List-Unsubscribe": "<https://x.example/a b>"},
        {"List-Unsubscribe": "<https://x.example/u> <mailto:a@x.example>"},
        {"List-Unsubscribe": ""},
        {"list-help": "call us"},
        {"List-Post": "no"},
        {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        {"List-Unsubscribe": MAILTO, **ONE_CLICK},
        {"List-Unsubscribe": "<https://x.example/u>", "List-Unsubscribe-Post": "One-Click"},
    ],
)
def test_a_malformed_header_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        _request(headers)


def test_build_refuses_a_header_that_is_not_ascii() -> None:
    with pytest.raises(ValueError, match="must be ASCII"):
        build(mail(headers={"List-Help": "<https://bücher.example/>"}))


def test_a_list_may_state_that_it_accepts_no_posts() -> None:
    assert _field("List-Post", "NO") == ["List-Post: NO"]
