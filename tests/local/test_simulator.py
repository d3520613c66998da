"""The simulator's addresses, over real SMTP conversations, and its notices, as the mail service reads them."""

import http.server
import json
import smtplib
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from local import runenv
from local.mail_catcher import notices
from local.mail_catcher.message import Envelope
from local.mail_catcher.simulator import MOST_COUNTED, Behavior, FirstTimes, behavior_of
from services.mail.bounces.ingest import suppresses_recipient
from services.mail.bounces.notice_parser import Kind, read
from tests.local.catcher_process import PATIENCE_SECONDS, Catcher, running

SENDER = "no-reply@counterfoil.example"
MAIL_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catcher]:
    with running(tmp_path_factory.mktemp("simulator")) as catcher:
        yield catcher


@pytest.fixture
def catcher(process: Catcher) -> Catcher:
    process.http.delete("/api/v1/messages").raise_for_status()
    return process


def mail_to(recipient: str, number: int = 1) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = f"Counterfoil <{SENDER}>"
    mail["To"] = recipient
    mail["Subject"] = "Welcome"
    mail["Message-ID"] = f"<{number}.{recipient.partition('@')[0]}@counterfoil.example>"
    mail["X-Counterfoil-ID"] = str(MAIL_ID)
    mail.set_content("Hello\n")
    return mail


def send(catcher: Catcher, recipient: str, number: int = 1) -> None:
    with catcher.smtp() as smtp:
        smtp.send_message(mail_to(recipient, number))


def refusal(catcher: Catcher, recipient: str) -> tuple[int, bytes]:
    with catcher.smtp() as smtp, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp.send_message(mail_to(recipient))
    (reply,) = refused.value.recipients.values()
    return reply


def wait_for(catcher: Catcher, mails: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := catcher.messages()["messages"]) < mails:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return list(found)


def test_refused_is_refused_at_rcpt_every_time(catcher: Catcher) -> None:
    for _ in range(2):
        code, text = refusal(catcher, "refused@simulator.example")
        assert (code, text[:6]) == (550, b"5.1.1 ")
    assert catcher.messages()["total"] == 0


def test_a_tag_chooses_the_code_of_a_refusal(catcher: Catcher) -> None:
    code, text = refusal(catcher, "refused+5.7.1+run-7@simulator.example")
    assert (code, text[:6]) == (550, b"5.7.1 ")


def test_one_refused_recipient_does_not_keep_the_mail_from_the_others(catcher: Catcher) -> None:
    with catcher.smtp() as smtp:
        failed = smtp.send_message(mail_to("ada@x.example"), SENDER, ["refused@simulator.example", "ada@x.example"])
    assert list(failed) == ["refused@simulator.example"]
    assert catcher.messages()["messages"][0]["To"] == [{"Name": "", "Address": "ada@x.example"}]


@pytest.mark.parametrize(
    ("recipient", "times"), [("deferred@simulator.example", 1), ("deferred+2@simulator.example", 2)]
)
def test_deferred_is_accepted_after_its_deferrals_and_then_starts_over(
    catcher: Catcher, recipient: str, times: int
) -> None:
    for accepted in (1, 2):
        for _ in range(times):
            code, text = refusal(catcher, recipient)
            assert (code, text[:6]) == (451, b"4.2.0 ")
        send(catcher, recipient)
        assert catcher.messages()["total"] == accepted


def test_deferred_addresses_with_other_tags_are_counted_apart(catcher: Catcher) -> None:
    assert refusal(catcher, "deferred+a@simulator.example")[0] == 451
    assert refusal(catcher, "deferred+b@simulator.example")[0] == 451
    send(catcher, "deferred+a@simulator.example")


@pytest.mark.parametrize(("name", "kept"), [("uncertain", 1), ("uncertain-lost", 0)])
def test_uncertain_drops_the_connection_after_the_dot_and_accepts_the_same_mail_the_next_time(
    catcher: Catcher, name: str, kept: int
) -> None:
    recipient = f"{name}@simulator.example"
    for number in (1, 2):  # each mail anew
        smtp = catcher.smtp()
        smtp.ehlo()
        smtp.mail(SENDER)
        assert smtp.rcpt(recipient)[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        smtp.send(mail_to(recipient, number).as_bytes() + b"\r\n.\r\n")
        with pytest.raises(smtplib.SMTPServerDisconnected, match="unexpectedly closed"):
            smtp.getreply()
        smtp.close()
    assert catcher.messages()["total"] == 2 * kept
    send(catcher, recipient)
    assert catcher.messages()["total"] == 2 * kept + 1


def test_slow_is_accepted_late_and_holds_up_no_other_mail(catcher: Catcher) -> None:
    recipient = "slow+600@simulator.example"
    slow = catcher.smtp()
    slow.ehlo()
    slow.mail(SENDER)
    assert slow.rcpt(recipient)[0] == 250
    assert slow.docmd("DATA")[0] == 354
    slow.send(mail_to(recipient).as_bytes() + b"\r\n.\r\n")
    send(catcher, "ada@x.example")
    slow.close()  # its reply is still to come
    began = time.monotonic()
    send(catcher, "slow+1@simulator.example")
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("name", ["bounce", "complaint"])
def test_a_report_about_the_mail_arrives_as_a_mail_to_the_envelope_sender(catcher: Catcher, name: str) -> None:
    send(catcher, f"{name}@simulator.example")
    report, mail = wait_for(catcher, 2)
    assert mail["Subject"] == "Welcome"
    assert report["To"] == [{"Name": "", "Address": SENDER}]
    assert catcher.messages(f"/api/v1/message/{report['ID']}")["ReturnPath"] == ""
    notice = read(catcher.http.get(f"/api/v1/message/{report['ID']}/raw").content)
    assert notice.kind is (Kind.FAILED if name == "bounce" else Kind.COMPLAINT)
    assert notice.mail_ids == (MAIL_ID,)
    assert notice.message_ids == (f"<1.{name}@counterfoil.example>",)


def test_the_bounce_has_the_code_of_the_tag_and_suppresses_only_for_some() -> None:
    def bounced(code: str) -> Any:
        raw = mail_to("bounce@simulator.example").as_bytes()
        return read(notices.bounce(raw, Envelope(SENDER, ()), "bounce@simulator.example", code))

    assert (bounced("5.1.1").status, bounced("5.1.1").code) == ("5.1.1", 550)
    assert bounced("5.1.1").diagnostic.startswith("550 5.1.1 <bounce@simulator.example>")
    assert suppresses_recipient(bounced("5.1.1"))
    assert not suppresses_recipient(bounced("5.2.2"))


def test_a_notice_quotes_eight_bit_headers_and_a_mail_without_a_body() -> None:
    raw = f"Subject: Grüße\r\nX-Counterfoil-ID: {MAIL_ID}\r\nTo: ü".encode() + b"\xff"
    notice = notices.bounce(raw, Envelope("ä@x.example", ()), "bounce+ü@simulator.example", "5.1.1")
    assert read(notice).mail_ids == (MAIL_ID,)
    assert raw in notice
    assert b"\n" not in notice.replace(b"\r\n", b"")


class MailService:
    """Answers `POST /v1/bounces` with each status in turn, and then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        left = list(statuses)
        requests = self.requests

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append((self.path, self.headers["Authorization"], content))
                self.send_response(left.pop(0) if left else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"outcome": "bounced"}).encode())

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_the_mail_service_of_the_stack_gets_the_bounce_again_until_it_takes_it(tmp_path: Path) -> None:
    service = MailService(409, 503)
    port = service.server.server_address[1]
    runenv.write(tmp_path / "run.env", {"MAIL_URL": f"http://127.0.0.1:{port}", "OPERATOR_KEY": "cf_operator"})
    with running(tmp_path) as catcher:
        send(catcher, "bounce@simulator.example")
        report, _ = wait_for(catcher, 2)
        raw = catcher.http.get(f"/api/v1/message/{report['ID']}/raw").content
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(service.requests) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    service.server.shutdown()
    service.server.server_close()
    assert service.requests == [("/v1/bounces", "Bearer cf_operator", raw)] * 3


@pytest.mark.parametrize(
    "recipient",
    [
        "refused@example.org",
        "refused@sub.simulator.example",
        "refused@simulator.example.org",
        "refusedx@simulator.example",
        "x+refused@simulator.example",
        "simulator.example",
    ],
)
def test_every_other_address_is_only_kept(catcher: Catcher, recipient: str) -> None:
    assert behavior_of(recipient) is None
    send(catcher, recipient)
    assert catcher.messages()["total"] == 1


def test_tags_are_read_in_any_order_and_a_long_number_only_makes_the_address_unique() -> None:
    assert behavior_of("SLOW@Simulator.Example") == Behavior("SLOW@Simulator.Example", "slow")
    for recipient in ("slow+5@simulator.example", "slow+run-1+5@simulator.example"):
        slow = behavior_of(recipient)
        assert slow is not None
        assert slow.seconds == 5
    long = behavior_of("deferred+1764420000@simulator.example")
    assert long is not None
    assert long.times == 1
    capped = behavior_of("slow+999@simulator.example")
    assert capped is not None
    assert capped.seconds == 60


def test_counts_of_mails_that_never_come_again_are_dropped() -> None:
    first = FirstTimes()
    for number in range(MOST_COUNTED + 1):
        assert first.is_among_first(1, str(number))
    assert first.is_among_first(1, "0")
    assert not first.is_among_first(1, str(MOST_COUNTED))
