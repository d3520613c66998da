"""The catcher's pages: hostile mails are shown and never run, and everything of a mail can be reached."""

import email
import html
import os
import re
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from local.mail_catcher import html_frame
from tests.local.catcher_process import Catcher, running

HOSTILE = (
    '<body onload="alert(1)"><script>alert(2)</script><img src="https://evil.example/pixel.gif">'
    "<svg onload='alert(3)'></svg>\"><!-- ' --></iframe><script>alert(4)</script>"
    '<a href="https://good.example/?a=1&amp;b=2">go</a><a href="javascript:alert(5)">no</a>'
    '<meta http-equiv="refresh" content="0;url=https://evil.example/"><img src="cid:logo@x"><img src="cid:page@x">'
)
HEADLINE = '<script>alert("subject")</script>'
LOGO, REPORT = os.urandom(300), os.urandom(70_000)
FRAME = re.compile(r'<iframe sandbox="" title="The mail" srcdoc="([^"]*)"></iframe>')


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catcher]:
    with running(tmp_path_factory.mktemp("viewer")) as catcher:
        yield catcher


@pytest.fixture
def catcher(process: Catcher) -> Catcher:
    process.http.delete("/api/v1/messages").raise_for_status()
    return process


def hostile_mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = '"<b>Eve</b>" <eve@x.example>'
    mail["To"] = "ada@x.example"
    mail["Subject"] = HEADLINE
    mail["X-Odd"] = "<i>odd</i>"
    mail.set_content("<script>alert(6)</script> https://good.example/verify?a=1&b=2. <https://good.example/x>\n")
    mail.add_alternative(HOSTILE, subtype="html")
    rich = mail.get_body(("html",))
    assert isinstance(rich, EmailMessage)
    rich.add_related(LOGO, "image", "png", cid="<logo@x>", filename="logo.png")
    rich.add_related(b"<svg/>", "image", "svg+xml", cid="<page@x>")
    mail.add_attachment(REPORT, maintype="application", subtype="pdf", filename='../Größe "1".pdf')
    mail.add_attachment(b"<script>alert(7)</script>", maintype="text", subtype="html", filename="page.html")
    return mail


def deliver(catcher: Catcher, mail: EmailMessage) -> str:
    with catcher.smtp() as smtp:
        smtp.send_message(mail)
    return str(catcher.messages()["messages"][0]["ID"])


def view(catcher: Catcher, mail_id: str, name: str = "") -> str:
    return catcher.http.get(f"/view/{mail_id}", params={"view": name}).raise_for_status().text


def test_hostile_html_stands_only_in_the_sandboxed_frame(catcher: Catcher) -> None:
    page = view(catcher, deliver(catcher, hostile_mail()))
    (frame,) = FRAME.findall(page)
    document = html.unescape(frame)
    assert document.startswith('<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"')
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in document
    for hostile in ("alert(1)", "<script>alert(2)</script>", "evil.example/pixel.gif", "<svg onload", "alert(4)"):
        assert hostile in document
    outside = FRAME.sub("", page)
    assert not re.search(r"alert\([1-5]\)", outside)
    assert "evil.example" not in outside
    assert not re.search(r"\son\w+=|javascript:", outside, re.IGNORECASE)
    assert not re.search(r"<(script|svg|img)", page, re.IGNORECASE)


@pytest.mark.parametrize("name", ["html", "text", "headers", "source", "attachments", "unknown"])
def test_no_view_contains_an_element_of_the_mail(catcher: Catcher, name: str) -> None:
    mail_id = deliver(catcher, hostile_mail())
    for page in (view(catcher, mail_id, name), catcher.http.get("/").text):
        assert not re.search(r"<(script|svg|img|b|i)\b", page)
        assert "&lt;script&gt;alert(&#34;subject&#34;)" in page


@pytest.mark.parametrize("path", ["/", "/?subject=x", "/view/latest"])
def test_pages_forbid_scripts_remote_content_framing_and_caching(catcher: Catcher, path: str) -> None:
    deliver(catcher, hostile_mail())
    headers = catcher.http.get(path).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_images_of_the_mail_are_shown_and_only_those_of_safe_types(catcher: Catcher) -> None:
    document = html.unescape(FRAME.findall(view(catcher, deliver(catcher, hostile_mail())))[0])
    assert '<img src="data:image/png;base64,' in document
    assert '<img src="cid:page@x">' in document
    many = html_frame.document('<img src="cid:a">' * 200, {"a": ("image/png", bytes(1_000_000))})
    assert 0 < many.count("data:") < 200


def test_links_can_be_opened_from_outside_the_frame_and_from_the_text(catcher: Catcher) -> None:
    mail_id = deliver(catcher, hostile_mail())
    rest = 'target="_blank" rel="noopener noreferrer">'
    assert f'<li><a href="https://good.example/?a=1&amp;b=2" {rest}' in view(catcher, mail_id)
    text = view(catcher, mail_id, "text")
    assert f'<a href="https://good.example/verify?a=1&amp;b=2" {rest}' in text
    assert f'&lt;<a href="https://good.example/x" {rest}https://good.example/x</a>&gt;' in text


def test_headers_and_source_are_shown_as_received(catcher: Catcher) -> None:
    mail_id = deliver(catcher, hostile_mail())
    assert '<tr><th scope="row">X-Odd</th><td>&lt;i&gt;odd&lt;/i&gt;</td></tr>' in view(catcher, mail_id, "headers")
    raw = catcher.http.get(f"/api/v1/message/{mail_id}/raw")
    assert raw.headers["X-Content-Type-Options"] == "nosniff"
    assert raw.headers["Content-Type"].startswith("text/plain")
    shown = re.findall(r"<pre>(.*?)</pre>", view(catcher, mail_id, "source"), re.DOTALL)[0]
    assert html.unescape(shown).splitlines() == raw.text.splitlines()
    assert email.message_from_string(raw.text)["Subject"] == HEADLINE


def test_attachments_are_downloads_byte_for_byte(catcher: Catcher) -> None:
    mail_id = deliver(catcher, hostile_mail())
    page = view(catcher, mail_id, "attachments")
    assert "Attachments (4)" in page
    files = {}
    for path in re.findall(r'href="(/api/v1/message/[^"]*/part/\d+)" download', page):
        answer = catcher.http.get(path)
        assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        files[answer.headers["Content-Type"], answer.headers["Content-Disposition"].partition("''")[2]] = answer.content
    assert files == {
        ("image/png", "logo.png"): LOGO,
        ("image/svg+xml", "attachment"): b"<svg/>",
        ("application/pdf", "Gr%C3%B6%C3%9Fe%20%221%22.pdf"): REPORT,
        ("text/html", "page.html"): b"<script>alert(7)</script>",
    }
    assert catcher.http.get(f"/api/v1/message/{mail_id}/part/99").status_code == 404


@pytest.mark.parametrize("content_type", ["text/pl\tain; x", "a/b/c", "image/ü", "x/y z\n\tset-cookie: a=b", "", "/"])
def test_a_broken_content_type_cannot_break_the_download(catcher: Catcher, content_type: str) -> None:
    raw = f'Content-Type: {content_type}\r\nContent-Disposition: attachment; filename="a\x07b"\r\n\r\nx'.encode()
    with catcher.smtp() as smtp:
        smtp.sendmail("a@example.org", ["b@example.org"], raw)
    answer = catcher.http.get("/api/v1/message/latest/part/1")
    assert answer.status_code == 200
    assert answer.content.strip() == b"x"
    assert "set-cookie" not in answer.headers


def test_the_list_is_searched_and_turned_with_plain_links(catcher: Catcher) -> None:
    with catcher.smtp() as smtp:
        for number in range(52):
            mail = EmailMessage()
            mail["To"] = f"person-{number}@x.example"
            mail["Subject"] = f"Letter no. {number}"
            smtp.send_message(mail, "a@x.example")
    first = catcher.http.get("/").text
    assert first.index("Letter no. 51") < first.index("Letter no. 50")
    assert "52 caught, 52 unread" in first
    assert 'href="/?start=50"' in first
    second = catcher.http.get("/?start=50").text
    assert re.findall(r"Letter no\. (\d+)", second) == ["1", "0"]
    for query, found in ((" to=Person-7@".strip(), ["7"]), ("subject=letter no. 4&to=person-4", ["49", "48", "47"])):
        page = catcher.http.get(f"/?{query}").text
        assert re.findall(r"Letter no\. (\d+)", page)[: len(found)] == found
    assert "No mail matches." in catcher.http.get("/", params={"subject": '"><script>'}).text
    assert "<script" not in catcher.http.get("/", params={"subject": '"><script>'}).text
    assert catcher.http.get("/?start=x").status_code == 400
    opened = re.findall(r'href="(/view/[^"]*)"', catcher.http.get("/?to=person-4&start=1").text)[0]
    assert opened.endswith("?to=person-4&amp;start=1")
    assert 'aria-current="true"' in catcher.http.get(html.unescape(opened)).text
