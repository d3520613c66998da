"""Any sender can write to a bounce mailbox: whatever it sends is read within bounds, and raises nothing."""

import base64
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.bounces import notice_parser
from services.mail.bounces.bounded_message import HEAD_BYTES, MAX_LINES, MAX_TAIL_LINES, TAIL_BYTES, own_parts, parse
from services.mail.bounces.by_flufl import kind_by_flufl
from services.mail.bounces.notice import DIAGNOSTIC_MAX_CHARACTERS
from services.mail.bounces.notice_parser import Kind, Notice, read
from tests.support.notices import complaint, in_free_words, quoted_header, report
from tests.unit.mail_bounces.notices_of_providers import FILTERS, PROVIDERS
from tests.unit.mail_bounces.notices_of_servers import SERVERS

CI = settings(derandomize=True, deadline=None)
MEBIBYTE = 1 << 20
NOTICES = [
    report(quoted_header("019ac000-0000-7000-8000-000000000001")),
    complaint(quoted_header("019ac000-0000-7000-8000-000000000001")),
    *(example.raw() for example in (*SERVERS, *PROVIDERS, *FILTERS)),
]
HEAD = b"From: MAILER-DAEMON@mx.example\nTo: bounce+" + b"a" * 32 + b"@b.example\nSubject: failure notice\n"


def _is_storable(notice: Notice) -> bool:
    text = f"{notice.diagnostic}{notice.status}{notice.message_ids}"
    return "\0" not in text and bool(text.encode()) and len(notice.diagnostic or "") <= DIAGNOSTIC_MAX_CHARACTERS


@settings(CI, max_examples=300)
@given(st.sampled_from(NOTICES), st.binary(max_size=200), st.integers(0, 1500), st.integers(0, 300))
def test_junk_in_any_notice_raises_nothing(raw: bytes, junk: bytes, at: int, left_out: int) -> None:
    """Also not behind the net that `read` spreads below the libraries."""
    damaged = raw[:at] + junk + raw[at + left_out :]
    message = parse(damaged)
    if message is not None:
        assert _is_storable(notice_parser._read(damaged, message, "bounces.example"))


@settings(CI, max_examples=200)
@given(
    st.lists(st.sampled_from(NOTICES), min_size=2, max_size=4), st.lists(st.integers(0, 2000), min_size=3, max_size=3)
)
def test_pieces_of_several_notices_raise_nothing(raws: list[bytes], cuts: list[int]) -> None:
    mixed = b"".join(raw[cut : cut + 700] for raw, cut in zip(raws, cuts, strict=False))
    assert _is_storable(read(mixed, "bounces.example"))


@settings(CI, max_examples=200)
@given(
    st.binary(max_size=400), st.sampled_from(["base64", "quoted-printable", "x-uuencode", "8bit"]), st.text(max_size=12)
)
def test_any_content_in_any_charset_raises_nothing(content: bytes, encoding: str, charset: str) -> None:
    body = base64.b64encode(content) if encoding == "base64" else content
    fields = f"Content-Transfer-Encoding: {encoding}\nContent-Type: text/plain; charset={charset}\n\n"
    assert _is_storable(read(HEAD + fields.encode("utf-8", "replace") + body))


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r\n"])
def test_any_line_end_is_one(end: bytes) -> None:
    raw = b"Subject: failed\nFrom: MAILER-DAEMON@x.example\n\nYour message could not be delivered: 550 5.1.1 no\n"
    notice = read(raw.replace(b"\n", end))
    assert notice.kind in {Kind.FAILED, Kind.OTHER}
    if end in {b"\r", b"\n", b"\r\n"}:
        assert (notice.kind, notice.status) == (Kind.FAILED, "5.1.1")


NESTED = b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(49))
# What a message begins with, and what then comes again and again.
HOSTILE = {
    "empty lines": (HEAD, b"\n"),
    "bare CR": (HEAD, b"\r"),
    "one line": (HEAD + b"\n", b"a"),
    "IDs": (HEAD + b"\n", b"00000000-0000-0000-0000-000000000000@"),
    "half IDs": (HEAD + b"\n", b"-0000"),
    "envelope addresses": (HEAD + b"\n", b"bounce+"),
    "Message-IDs": (HEAD + b"\n", b"Message-ID: <"),
    "parameters": (HEAD + b"Content-Type: multipart/mixed; ", b";"),
    "an open quote": (HEAD + b'Content-Type: multipart/mixed; a="', b";"),
    "folded lines": (HEAD + b"Content-Type: multipart/mixed\n", b" ;\n"),
    "fields": (HEAD, b"a:\n"),
    "blocks of a delivery status": (HEAD + b"Content-Type: message/delivery-status\n\n", b"a:b\n\n"),
    "empty blocks": (HEAD + b"Content-Type: message/delivery-status\n\n", b"\n"),
    "messages": (HEAD, b"Content-Type: message/rfc822\n\n"),
    "multiparts": (HEAD + NESTED, b"--x\n"),
    "parts": (HEAD + b"Content-Type: multipart/mixed; boundary=x\n\n", b"--x\n\n"),
    "rulers": (HEAD + b"\n", b"-" * 990 + b"\n"),
    "tags": (HEAD + b"Content-Type: text/html\n\n", b"<style"),
    "open tags": (HEAD + b"Content-Type: text/html\n\n", b"<"),
    "punycode": (HEAD + b"Content-Type: text/plain; charset=punycode\n\na-", b"9"),
    "encoded words": (b"From: MAILER-DAEMON\nSubject: ", b"=?"),
    "addresses between commas": (HEAD + b"\n", b"," * 60 + b"@" * 5 + b"x" * 130 + b"\n"),
    "words of every pattern": (HEAD + b"\n", b"delivery mail user address could not error: 550 5.1.1 <<< -- \n"),
    "quotes": (HEAD + b"\n", b">"),
}
# The beginning is parsed; the whole is searched for marks, which these make hard.
SEARCHED = ("one line", "IDs", "Message-IDs")


def _hostile(name: str, size: int) -> bytes:
    begin, again = HOSTILE[name]
    return (begin + again * (size // len(again) + 1))[:size]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_read_soon(name: str) -> None:
    """It needs a fraction of a second. A pattern or a loop of quadratic time would need more than the test may take."""
    assert isinstance(read(_hostile(name, MEBIBYTE), "b.example"), Notice)


@pytest.mark.parametrize("name", SEARCHED)
def test_ten_hostile_mebibytes_are_read_soon(name: str) -> None:
    assert isinstance(read(_hostile(name, 10 * MEBIBYTE), "b.example"), Notice)


@pytest.mark.parametrize("name", ["one line", "empty blocks"])
def test_a_message_is_read_in_bounded_memory(name: str) -> None:
    raw = _hostile(name, 4 * MEBIBYTE)
    tracemalloc.start()
    try:
        read(raw, "b.example")
        assert tracemalloc.get_traced_memory()[1] < 3 * len(raw)
    finally:
        tracemalloc.stop()


def test_only_a_window_of_a_large_message_is_parsed() -> None:
    message = parse(b"Subject: x\n\n" + b"a\n" * (5 * MEBIBYTE))
    assert message is not None
    assert len(str(message.get_payload()).split("\n")) <= MAX_LINES + MAX_TAIL_LINES
    message = parse(b"Subject: x\n\n" + (b"a" * 75 + b"\n") * (MEBIBYTE // 10))
    assert message is not None
    assert len(str(message.get_payload())) <= HEAD_BYTES + TAIL_BYTES


def test_only_some_fields_and_parts_of_a_message_are_read() -> None:
    message = parse(b"a: b\n" * 3000 + b"\n")
    assert message is not None
    assert len(message) == 500
    message = parse(b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 3000)
    assert message is not None
    assert len(list(own_parts(message))) == 100


def test_a_report_behind_a_large_mail_is_read() -> None:
    mail = b"--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n" + (b"A" * 76 + b"\n") * 50_000
    status = (
        b"--b\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a\nAction: failed\nStatus: 5.1.1\n"
    )
    raw = HEAD + b'Content-Type: multipart/report; boundary="b"\n\n' + mail + status + b"\n--b--\n"
    assert (read(raw).kind, read(raw).status) == (Kind.FAILED, "5.1.1")


def test_a_library_that_raises_leaves_the_message_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("anything")

    monkeypatch.setattr("flufl.bounce.all_failures", broken)
    message = parse(in_free_words("Nothing that is known"))
    assert message is not None
    assert kind_by_flufl(message) is None
    monkeypatch.setattr("email.message_from_bytes", broken)
    assert read(report("")).kind is Kind.OTHER


def test_a_quoted_message_is_no_part_of_the_notice() -> None:
    message = parse(report(quoted_header("x")))
    assert message is not None
    assert [part.get_content_type() for part in own_parts(message)] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
