"""A reader gets back exactly what a mail contains, for any content."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.mail.delivery.message import build

from .mails import field_names, mail, parse, read_mailbox

CI = settings(derandomize=True, deadline=None, max_examples=150)

TRICKY = st.sampled_from(
    [
        *[
            '"',
            "\\",
            ",",
            ";",
            ":",
            "<a@b.example>",
            "(comment)",
            "=?utf-8?q?forged?=",
            "=?",
            "?=",
            "=",
            "_",
            " ",
            "  ",
        ],
        *[
            "@",
            "é",
            "e\u0301",
            "👩‍👩‍👧",
            "שלום",
            "\u200f",
            "漢字",
            "w" * 120,
            "ß" * 80,
            "\u00a0",
            "From ",
            ".",
            "--",
            "=0D=0A",
        ],
    ]
)
LINES = st.lists(
    TRICKY | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12), max_size=10
).map("".join)
TEXTS = st.lists(LINES | st.sampled_from(["\n", "\r\n", "\r", "\u2028", "\x0c", "\t", "\n.\n", "\n--=_", " \n"])).map(
    "".join
)


@CI
@given(subject=LINES, name=LINES, value=LINES)
@example(subject="=?utf-8?q?a?= =?utf-8?q?b?=", name="=?utf-8?q?a?=", value=" ")
@example(subject=" a  b ", name=' "\\ ', value="a  " * 60)
@example(subject="n" * 2000, name="n" * 2000, value="n" * 2000)
def test_a_reader_gets_subject_name_and_custom_header_back(subject: str, name: str, value: str) -> None:
    data = build(mail(subject=subject, to_name=name, headers={"X-Note": value}))
    message = parse(data)
    assert message["subject"] == subject
    assert message["x-note"] == value
    assert read_mailbox(data, "to") == (name, "ada@example.org")
    display_name = message["to"].addresses[0].display_name
    # `addresses` adds a space where encoded words meet, and collapses those that it finds.
    assert "".join(display_name.split()) == "".join(name.split())
    assert field_names(data) == field_names(build(mail(headers={"X-Note": "plain"})))
    assert_transportable(data)


@CI
@given(text=TEXTS, html=st.none() | TEXTS)
def test_a_reader_gets_text_and_html_back(text: str, html: str | None) -> None:
    data = build(mail(text=text, html=html))
    message = parse(data)
    parts = [message] if html is None else list(message.iter_parts())
    bodies = [part.get_payload(decode=True) for part in parts]
    assert bodies == [on_the_wire(body).encode() for body in (text, html) if body is not None]
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"][: len(parts)]
    assert_transportable(data)
    assert max(map(len, data.split(b"\r\n"))) <= 78


def on_the_wire(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return (lines if lines.endswith("\n") else lines + "\n").replace("\n", "\r\n")


def assert_transportable(data: bytes) -> None:
    lines = data.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    assert data.isascii()
    assert data.endswith(b"\r\n")
