"""The MIME parts of a mail, and that a retry sends the same bytes."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from services.mail.delivery.message import build

from .mails import PLAIN, mail, parse, read, text_of

_BUILD_ELSEWHERE = """
import sys
from hashlib import sha256
from services.mail.delivery.message import build
from tests.unit.mail_content.mails import mail
changes = {"to_name": "Åsa", "html": "<p>ß</p>", "headers": {"X-B": "2", "X-A": "ß"}}
sys.stdout.write(sha256(build(mail(**changes))).hexdigest())
"""


def test_text_comes_before_html() -> None:
    message = read(PLAIN)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert [text_of(part) for part in message.iter_parts()] == [PLAIN.text, PLAIN.html]


def test_a_mail_without_html_is_plain_text_alone() -> None:
    message = read(mail(html=None))
    assert message.get_content_type() == "text/plain"
    assert text_of(message) == PLAIN.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello\n", "7bit"),
        ("Grüße aus Köln, und auf bald.\n", "quoted-printable"),
        ("漢字かな\n", "base64"),
        ("x" * 79 + "\n", "quoted-printable"),
        ("trailing \n", "quoted-printable"),
        ("a\x0cb\0c\n", "quoted-printable"),
        ("שלום עולם\n" * 200, "base64"),
    ],
)
def test_a_body_is_sent_in_the_smallest_encoding_that_is_safe(text: str, encoding: str) -> None:
    data = build(mail(text=text, html=None))
    message = parse(data)
    assert message["content-transfer-encoding"] == encoding
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == text.replace("\n", "\r\n")
    assert max(map(len, data.split(b"\r\n"))) <= 78
    assert data.isascii()


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\nb", "a\r\nb\n"])
def test_every_kind_of_line_break_becomes_crlf(text: str) -> None:
    assert build(mail(text=text, html=None)).endswith(b"\r\n\r\na\r\nb\r\n")


def test_a_text_cannot_end_its_part_even_if_it_contains_the_boundary() -> None:
    boundary = parse(build(PLAIN)).get_boundary()
    forged = f"hello\n--{boundary}\nContent-Type: text/html\n\nforged\n--{boundary}--\n"
    parts = list(read(mail(text=forged, html=forged)).iter_parts())
    assert [text_of(part) for part in parts] == [forged, forged]


def test_mails_differ_in_their_boundary() -> None:
    other = mail(mail_id=UUID("01930000-0000-7000-8000-000000000002"))
    assert parse(build(other)).get_boundary() != parse(build(PLAIN)).get_boundary()


def test_another_process_builds_the_same_bytes() -> None:
    here = build(mail(to_name="Åsa", html="<p>ß</p>", headers={"X-A": "ß", "X-B": "2"}))
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "PYTHONPATH": str(Path.cwd()),
    }
    other = subprocess.run([sys.executable, "-c", _BUILD_ELSEWHERE], env=environment, capture_output=True, check=True)
    assert other.stdout.decode() == sha256(here).hexdigest()


def test_dots_are_not_stuffed_here() -> None:
    assert b"\r\n..x\r\n" in build(mail(text="..x\n", html=None))
