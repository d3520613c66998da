"""What an attachment may be, and how it is written into the message: read back by two independent parsers."""

from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.mail.delivery.message import build
from services.mail.delivery.mime_parts import AttachedFile
from services.mail.intake.attachments import Attachment as Read
from services.mail.intake.attachments import decoded, encoded_size, read
from services.mail.intake.fingerprint import differing_fields
from shared.contract.attachments import Attachment
from shared.contract.mails import MailRequest
from shared.contract.problems import InvalidRequest
from tests.support.attachments import PNG, image, pdf, sent
from tests.support.mime_by_hand import leaves

from .mails import PLAIN, mail, parse, text_of
from .test_message_property import CI, assert_transportable

FILENAMES = ["invoice.pdf", "Übersicht 2026.pdf", "請求書.pdf", "a;b=c.txt", 'say "hi".txt', "=?utf-8?q?x?=.txt",
             "%41.txt", "it's.txt", "👩‍👩‍👧" * 9, "n" * 255, "n" * 60 + ".pdf", ".env", "a..b", "C:x"]  # fmt: skip
BAD_FILENAMES = ["", "../a", "a/b", "a\\b", ".", "..", " a", "a ", "a\nb", "a\0b", "a\x7f", "a\u202efdp.exe", "ü" * 128]
BAD_TYPES = ["", "pdf", "a/", "/a", "a/b/c", "text/plain\r\nX: y", "text/plain; charset", "é/x", "multipart/mixed",
             "Message/RFC822", 'text/plain; name="a"', "text/plain; boundary=x", "a/b;", "a" * 128 + "/b"]  # fmt: skip
BAD_BASE64 = ["A", "AAA", "AA=", "====", "AA==AAAA", "AAAA\n", "AAA\nAAAA", " AAA", "AA-_", "ÄAAA", "=AAA", "A==="]


def _is_valid(**changes: Any) -> bool:
    try:
        Attachment.model_validate(sent(b"x") | changes)
    except ValidationError:
        return False
    return True


def _built(*files: AttachedFile, **changes: Any) -> tuple[EmailMessage, bytes]:
    data = build(mail(**changes), files)
    assert_transportable(data)
    return parse(data), data


def _file(filename: str = "invoice.pdf", data: bytes = b"x", content_id: str | None = None) -> AttachedFile:
    return AttachedFile(filename, "application/octet-stream", content_id, data)


@pytest.mark.parametrize("filename", FILENAMES)
def test_a_filename_is_read_back_by_two_parsers(filename: str) -> None:
    assert _is_valid(filename=filename)
    message, data = _built(_file(filename))
    assert [part.get_filename() for part in message.iter_attachments()] == [filename]
    assert list(leaves(data))[-1].filename == filename
    assert max(map(len, data.split(b"\r\n"))) <= 78


@CI
@given(st.text(min_size=1, max_size=90))
@example("=?utf-8?q?x?=")
@example("a'b''c%27*0*=")
def test_a_filename_is_refused_or_read_back_as_it_is(filename: str) -> None:
    if not _is_valid(filename=filename):
        return
    message, data = _built(_file(filename))
    assert list(leaves(data))[-1].filename == filename
    (part,) = message.iter_attachments()
    assert part.get_filename() == filename


@pytest.mark.parametrize("filename", BAD_FILENAMES)
def test_a_path_or_a_control_character_is_no_filename(filename: str) -> None:
    assert not _is_valid(filename=filename)


@pytest.mark.parametrize("content_type", BAD_TYPES)
def test_what_is_no_single_media_type_is_refused(content_type: str) -> None:
    assert not _is_valid(content_type=content_type)


@pytest.mark.parametrize(
    "content_type", ["text/calendar; method=REQUEST; charset=utf-8", 'a/b; x="y z"', "image/svg+xml"]
)
def test_a_media_type_keeps_its_parameters(content_type: str) -> None:
    assert _is_valid(content_type=content_type)
    message, data = _built(AttachedFile("a", content_type, None, b"x"))
    (part,) = message.iter_attachments()
    assert part["content-type"].replace('"', "") == content_type.replace('"', "")
    assert list(leaves(data))[-1].headers["content-type"] == content_type


@pytest.mark.parametrize("content_id", ["", "<a>", "a b", "a@", "a@b@c", "ä", "a\r\n", "a" * 101])
def test_a_content_id_is_plain(content_id: str) -> None:
    assert not _is_valid(content_id=content_id)


@pytest.mark.parametrize("text", BAD_BASE64)
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(ValueError):
        decoded(text)
    with pytest.raises(ValueError):
        decoded("AAAA" * (1 << 17) + text)


@given(st.binary(max_size=100), st.integers(0, 3))
def test_base64_is_decoded_whole(data: bytes, pieces: int) -> None:
    whole = b"abc" * (65_536 * pieces) + data
    text = sent(whole)["content"]
    assert decoded(text) == whole
    assert len(text) == encoded_size(len(whole))


async def test_every_attachment_that_cannot_be_read_is_named() -> None:
    good = image()
    wrong = [good, image(content_id="other"), good, sent(b"x") | {"content": "no!"}]
    problem = await read([Attachment.model_validate(one) for one in wrong])
    assert isinstance(problem, InvalidRequest)
    assert {error["pointer"] for error in problem.errors} == {"/attachments/2/content_id", "/attachments/3/content"}


def test_a_mail_without_attachments_keeps_its_content() -> None:
    plain = {"to": {"email": "a@x.example"}, "subject": "S", "text": "T"}
    assert "attachments" not in MailRequest.model_validate(plain | {"attachments": [sent(b"x")]}).content()
    assert (
        MailRequest.model_validate(plain | {"attachments": []}).content() == MailRequest.model_validate(plain).content()
    )


def test_attachments_differ_by_place() -> None:
    first = [Read(name, "a/b", None, name.encode() * 32, b"x").described() for name in "abc"]
    other = [*first[:1], first[2], first[2]]
    assert differing_fields({"attachments": first}, {"attachments": other}) == ["/attachments/1"]
    assert differing_fields({"attachments": first}, {"attachments": first[:2]}) == ["/attachments/2"]
    assert differing_fields({}, {"attachments": first[:1]}) == ["/attachments/0"]
    assert differing_fields({"attachments": first}, {"attachments": first}) == []


def test_inline_images_stand_beside_the_html_and_files_after_it() -> None:
    files = [_file("a.pdf", pdf()), _file("logo.png", PNG, "logo"), _file("b.pdf", pdf(seed=2))]
    message, data = _built(*files)
    assert message.get_content_type() == "multipart/mixed"
    related, *others = message.iter_parts()
    assert related.get_content_type() == "multipart/related"
    assert related.get_param("type") == "multipart/alternative"
    alternative, inline = related.iter_parts()
    assert [text_of(part) for part in alternative.iter_parts()] == [PLAIN.text, PLAIN.html]
    assert (inline["content-id"], inline.get_content_disposition()) == ("<logo>", "inline")
    assert [part.get_payload(decode=True) for part in (inline, *others)] == [PNG, pdf(), pdf(seed=2)]
    assert [(leaf.path[-1], leaf.data) for leaf in leaves(data)][2:] == [
        ("multipart/related", PNG),
        ("multipart/mixed", pdf()),
        ("multipart/mixed", pdf(seed=2)),
    ]
    boundaries = {part.get_boundary() for part in message.walk() if part.is_multipart()}
    assert len(boundaries) == 3
    assert len({len(str(boundary)) for boundary in boundaries}) == 1


def test_a_text_alone_may_have_files() -> None:
    message, data = _built(_file(data=b"x"), html=None)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "application/octet-stream"]
    assert [leaf.media_type for leaf in leaves(data)] == ["text/plain", "application/octet-stream"]


def test_an_image_alone_needs_no_mixed_part() -> None:
    message, _ = _built(_file("logo.png", PNG, "logo"))
    assert message.get_content_type() == "multipart/related"


@CI
@given(
    st.lists(st.binary(min_size=1, max_size=200) | st.sampled_from([b"\r\n.\r\n", b"--=_", b"\n", b"\0"]), max_size=4)
)
def test_bytes_are_read_back_by_two_parsers_and_built_alike_twice(contents: list[bytes]) -> None:
    files = [_file(f"{n}", data, f"c{n}" if n % 2 else None) for n, data in enumerate(contents)]
    message, data = _built(*files)
    assert data == build(PLAIN, files)
    by_name = {part.get_filename(): part.get_payload(decode=True) for part in message.walk() if part.get_filename()}
    assert by_name == {file.filename: file.data for file in files}
    assert {leaf.filename: leaf.data for leaf in leaves(data) if "content-disposition" in leaf.headers} == by_name
