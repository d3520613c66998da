"""The mail catcher as a process, over real SMTP and HTTP."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.local.catcher_process import Catcher, running


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catcher]:
    with running(tmp_path_factory.mktemp("catcher")) as catcher:
        yield catcher


@pytest.fixture
def catcher(process: Catcher) -> Catcher:
    process.http.delete("/api/v1/messages").raise_for_status()
    return process


def make_mail(number: int = 1, subject: str = "Grüße") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Zoë <zoe@example.org>"
    mail["To"] = '"Müller, Jürgen" <juergen@example.org>'
    mail["Cc"] = "copy@example.org"
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{number}@example.org>"
    mail["Date"] = "Mon, 02 Mar 2026 10:00:00 +0100"
    mail.set_content("Grüß Gott,\nhttps://example.org/verify?a=1&b=<2>\n")
    mail.add_alternative("<p>Grüß Gott</p><script>alert(1)</script>", subtype="html")
    mail.add_attachment(b"12345", maintype="application", subtype="pdf", filename="naïve.pdf")
    return mail


def test_a_mail_is_shown_in_mailpits_format(catcher: Catcher) -> None:
    with catcher.smtp() as smtp:
        smtp.send_message(make_mail(), "bounce@example.org", ["juergen@example.org", "blind@example.org"])
    page = catcher.messages()
    (entry,) = page["messages"]
    assert {name: page[name] for name in ("total", "unread", "count", "messages_count", "start")} == {
        "total": 1,
        "unread": 1,
        "count": 1,
        "messages_count": 1,
        "start": 0,
    }
    assert entry["MessageID"] == "1@example.org"
    assert entry["From"] == {"Name": "Zoë", "Address": "zoe@example.org"}
    assert entry["To"] == [{"Name": "Müller, Jürgen", "Address": "juergen@example.org"}]
    assert entry["Bcc"] == [{"Name": "", "Address": "blind@example.org"}]
    assert (entry["Subject"], entry["Attachments"], entry["Read"]) == ("Grüße", 1, False)
    assert entry["Snippet"].startswith("Grüß Gott, https://example.org")

    mail = catcher.messages(f"/api/v1/message/{entry['ID']}")
    assert mail["Text"].startswith("Grüß Gott,\n")
    assert mail["HTML"].startswith("<p>Grüß Gott</p>")
    assert mail["ReturnPath"] == "bounce@example.org"
    assert mail["Date"] == "2026-03-02T10:00:00+01:00"
    assert [(each["FileName"], each["Size"]) for each in mail["Attachments"]] == [("naïve.pdf", 5)]
    assert catcher.messages(f"/api/v1/message/{entry['ID']}/headers")["Subject"] == ["Grüße"]
    assert b"Message-ID: <1@example.org>" in catcher.http.get(f"/api/v1/message/{entry['ID']}/raw").content
    assert catcher.messages()["unread"] == 0


def test_an_accepted_mail_survives_kill_9(tmp_path: Path) -> None:
    catcher = Catcher(tmp_path)
    with catcher.smtp() as smtp:
        smtp.send_message(make_mail())
        catcher.kill()
        smtp.close()
    catcher.start()
    assert [entry["MessageID"] for entry in catcher.messages()["messages"]] == ["1@example.org"]
    catcher.http.close()
    catcher.kill()


def test_many_connections_at_once_lose_and_double_nothing(catcher: Catcher) -> None:
    def send(first: int) -> None:
        with catcher.smtp() as smtp:
            for number in range(first, first + 50):
                smtp.send_message(make_mail(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, (0, 50, 100, 150)))
    newest_first = catcher.messages(limit="1000")["messages"]
    assert sorted(int(entry["MessageID"].split("@")[0]) for entry in newest_first) == list(range(200))
    assert newest_first == sorted(newest_first, key=lambda entry: entry["Created"], reverse=True)
    second_page = catcher.messages(start="50")
    assert second_page["messages"] == newest_first[50:100]
    assert (second_page["start"], second_page["count"], second_page["messages_count"]) == (50, 50, 200)


def test_addresses_beyond_ascii_and_eight_bit_text_are_accepted(catcher: Catcher) -> None:
    raw = "From: ä@bücher.example\r\nTo: Jürgen <jürgen@bücher.example>\r\nSubject: Grüße\r\n\r\nGrüß Gott\r\n".encode()
    with catcher.smtp() as smtp:
        smtp.ehlo()
        assert {"smtputf8", "8bitmime", "pipelining", "size"} <= set(smtp.esmtp_features)
        smtp.sendmail("ä@bücher.example", "jürgen@bücher.example", raw, ["SMTPUTF8", "BODY=8BITMIME"])
    (entry,) = catcher.messages("/api/v1/search", query="to:jürgen@bücher.example")["messages"]
    assert entry["To"] == [{"Name": "Jürgen", "Address": "jürgen@bücher.example"}]
    assert entry["Subject"] == "Grüße"
    assert entry["Bcc"] == []


def test_pipelined_commands_are_answered_in_order(catcher: Catcher) -> None:
    with socket.create_connection(("127.0.0.1", int(catcher.ports["CATCHER_SMTP_PORT"]))) as link:
        mail = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\n"
        link.sendall(b"EHLO me\r\n" + mail + mail + b"QUIT\r\n")
        with link.makefile("rb") as answers:
            codes = [line[:3] for line in answers if line[3:4] == b" "]
    assert codes == [b"220", b"250", *[b"250", b"250", b"354", b"250"] * 2, b"221"]
    assert catcher.messages()["total"] == 2
    assert catcher.messages("/api/v1/message/latest")["Text"] == ".dot\n"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("to:juergen", 2),
        ("to:copy@example.org", 2),
        ("from:ZOE@example.org", 2),
        ("subject:second", 1),
        ("message-id:<1@example.org>", 1),
        ('"second letter" to:juergen', 1),
        ("100%", 0),
        ("absent", 0),
    ],
)
def test_search_finds_what_matches_every_word(catcher: Catcher, query: str, found: int) -> None:
    with catcher.smtp() as smtp:
        smtp.send_message(make_mail(1, "The first letter"))
        smtp.send_message(make_mail(2, "The second letter"))
    answer = catcher.messages("/api/v1/search", query=query)
    assert (answer["messages_count"], len(answer["messages"])) == (found, found)


def test_delete_removes_the_named_mails_or_all(catcher: Catcher) -> None:
    with catcher.smtp() as smtp:
        for number in range(3):
            smtp.send_message(make_mail(number))
    oldest = catcher.messages()["messages"][2]
    catcher.http.request("DELETE", "/api/v1/messages", json={"IDs": [oldest["ID"]]}).raise_for_status()
    assert [entry["MessageID"] for entry in catcher.messages()["messages"]] == ["2@example.org", "1@example.org"]
    assert catcher.http.get(f"/api/v1/message/{oldest['ID']}").status_code == 404
    catcher.http.delete("/api/v1/messages").raise_for_status()
    assert catcher.messages()["total"] == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no headers at all",
        b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe",
        b"Subject: =?utf-9?q?x?=\r\nFrom: @@\r\nDate: never\r\nTo: \xff\xfe\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
    ],
)
def test_a_broken_mail_is_shown_as_far_as_it_can_be_read(catcher: Catcher, raw: bytes) -> None:
    with catcher.smtp() as smtp:
        smtp.sendmail("a@example.org", ["b@example.org"], raw)
    (entry,) = catcher.messages()["messages"]
    assert catcher.messages(f"/api/v1/message/{entry['ID']}")["Bcc"] or entry["To"]
    for view in ("html", "text", "headers", "source", "attachments"):
        assert catcher.http.get(f"/view/{entry['ID']}", params={"view": view}).status_code == 200
