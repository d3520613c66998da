"""`bounces fetch` takes a notice out of the mailbox when the ledger has it, and not before."""

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.mail.cli.bounces_fetch import run_fetch
from services.mail.command_line import main
from services.mail.settings import Settings
from shared.contract.ids import UUID, uuid7
from shared.db.pool import Pool
from tests.integration.mail.test_interventions import SET_STATE
from tests.integration.mail_delivery.test_smtp_connections import certificate, server_tls
from tests.support.databases import ROOT, Clone
from tests.support.imap_server import DONE, HANG_UP, MODERN, PASSWORD, ImapServer, imap_server
from tests.support.mails import history_kinds, insert_mails, mail_row
from tests.support.notices import quoted_header, report
from tests.support.tcp_forwarder import Forwarder

__all__ = ["certificate"]

SPAM = b"From: a@x.example\r\nSubject: Hello\r\n\r\nBuy this\r\n"
UNREACHABLE = "postgresql://ada:swordfish@127.0.0.1:1/x"
OK, BAD_USAGE, TRY_AGAIN, BAD_CONFIGURATION = 0, 64, 75, 78


@dataclass
class Mailbox:
    """A mailbox on `server`, and the ledger that it is fetched into."""

    server: ImapServer
    clone: Clone
    scheme: str = "imap"
    query: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def pool(self) -> Pool:
        return self.clone.database.pool

    @property
    def url(self) -> str:
        return f"{self.scheme}://bounces%40example.com@127.0.0.1:{self.server.port}/INBOX{self.query}"

    async def fetch(self, move_to: str | None = None, *, url: str = "") -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        settings = Settings(
            **{  # type: ignore[arg-type] # each value is a string
                "mail_runtime_database_url": self.clone.runtime_url,
                "mail_bounce_imap_password": PASSWORD,
                **self.settings,
            }
        )
        out, err = io.StringIO(), io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return run_fetch(url or self.url, move_to, settings)

        return await asyncio.to_thread(run), out.getvalue().strip(), err.getvalue().strip()

    async def mail_in(self, state: str) -> UUID:
        (mail_id,) = await insert_mails(self.pool)
        await self.pool.execute(SET_STATE, state)
        return mail_id

    async def state(self, mail_id: UUID) -> str:
        return str((await mail_row(self.pool, mail_id))["state"])


@pytest.fixture
async def mailbox(mail_database: Clone) -> AsyncIterator[Mailbox]:
    async with imap_server() as server:
        yield Mailbox(server, mail_database)


async def test_a_notice_is_ingested_and_then_deleted(mailbox: Mailbox) -> None:
    mail_id = await mailbox.mail_in("sent")
    mailbox.server.put(report(quoted_header(mail_id)))
    assert await mailbox.fetch() == (OK, "bounced 1", "")
    mail = await mail_row(mailbox.pool, mail_id)
    assert (mail["state"], mail["failure_reply"]) == ("bounced", "550 5.1.1 <b@x.example>: User unknown")
    assert mailbox.server.contents() == []
    assert "UID EXPUNGE 1" in mailbox.server.commands
    assert await mailbox.fetch() == (OK, "nothing new", "")


async def test_with_move_to_a_notice_is_moved(mailbox: Mailbox) -> None:
    notice = report(quoted_header(await mailbox.mail_in("sent")))
    mailbox.server.put(notice)
    assert await mailbox.fetch(DONE) == (OK, "bounced 1", "")
    assert (mailbox.server.contents(), mailbox.server.contents(DONE)) == ([], [notice])
    assert r'UID MOVE 1 "Bounces, \"done\""' in mailbox.server.commands


@pytest.mark.parametrize("move_to", [None, DONE])
async def test_what_says_nothing_about_our_mails_stays_and_is_not_read_again(
    mailbox: Mailbox, move_to: str | None
) -> None:
    """A mailbox may receive mail for others. A person may have opened it, which is not for us to count as read."""
    about_another = report(quoted_header(uuid7()))
    mailbox.server.put(SPAM, r"\Seen")
    mailbox.server.put(about_another, r"\Seen")
    mailbox.server.put(b"")
    assert await mailbox.fetch(move_to) == (OK, "ignored 2, unmatched 1", "")
    assert mailbox.server.contents() == [SPAM, about_another, b""]
    assert mailbox.server.read_count() == 3
    assert await mailbox.fetch(move_to) == (OK, "nothing new", "")
    assert mailbox.server.read_count() == 3


async def test_a_server_without_keywords_shows_what_stays_each_time(mailbox: Mailbox) -> None:
    mailbox.server.keeps_keywords = False
    mailbox.server.put(SPAM)
    for _ in range(2):
        assert await mailbox.fetch() == (OK, "ignored 1", "")
    assert mailbox.server.contents() == [SPAM]


async def test_a_notice_about_a_mail_that_is_still_being_sent_stays_until_it_is_recorded(mailbox: Mailbox) -> None:
    mail_id = await mailbox.mail_in("sending")
    mailbox.server.put(report(quoted_header(mail_id)))
    assert await mailbox.fetch() == (TRY_AGAIN, "still sending 1", "")
    assert len(mailbox.server.contents()) == 1
    await mailbox.pool.execute(SET_STATE, "sent")
    assert await mailbox.fetch() == (OK, "bounced 1", "")
    assert mailbox.server.contents() == []


@pytest.mark.parametrize("refusal", [HANG_UP, "NO out of space", "BAD syntax"])
@pytest.mark.parametrize("command", ["UID STORE", "UID EXPUNGE"])
async def test_a_notice_that_could_not_be_deleted_is_ingested_once_all_the_same(
    mailbox: Mailbox, command: str, refusal: str
) -> None:
    mail_id = await mailbox.mail_in("sent")
    mailbox.server.put(report(quoted_header(mail_id)))
    mailbox.server.refuses = {command: refusal}
    status, out, error = await mailbox.fetch()
    assert (status, out) == (TRY_AGAIN, "bounced 1")
    assert error.startswith("bounces fetch: deleting message 1: ")
    assert len(mailbox.server.contents()) == 1
    mailbox.server.refuses = {}
    assert (await mailbox.fetch())[0] == OK
    assert await history_kinds(mailbox.pool, mail_id) == ["mail.bounced"]


async def test_while_the_database_is_away_nothing_leaves_the_mailbox(mailbox: Mailbox) -> None:
    mail_id = await mailbox.mail_in("sent")
    mailbox.server.put(report(quoted_header(mail_id)))
    forwarder = Forwarder(mailbox.clone.runtime_url)
    mailbox.settings["mail_runtime_database_url"] = forwarder.url
    status, out, error = await mailbox.fetch()
    assert (status, out) == (TRY_AGAIN, "nothing new")
    assert error.startswith("bounces fetch: the database cannot be used: ")
    assert len(mailbox.server.contents()) == 1
    await forwarder.open()
    assert await mailbox.fetch() == (OK, "bounced 1", "")
    await forwarder.shut()


async def test_a_message_that_cannot_be_ingested_does_not_keep_later_ones_from_being_read(mailbox: Mailbox) -> None:
    mail_id = await mailbox.mail_in("sent")
    refused, notice = report(quoted_header(mail_id), "Action: delayed\n"), report(quoted_header(mail_id))
    mailbox.server.put(refused)
    mailbox.server.put(notice)
    await mailbox.clone.as_owner("ALTER TABLE bounces ADD CONSTRAINT broken CHECK (kind <> 'delayed')")
    with capture_logs() as logged:
        assert await mailbox.fetch() == (TRY_AGAIN, "bounced 1, not ingested 1", "")
    assert [line["event"] for line in logged] == ["bounce_not_ingested"]
    assert mailbox.server.contents() == [refused]
    assert await mailbox.state(mail_id) == "bounced"


async def test_a_message_that_another_run_took_is_passed_over(mailbox: Mailbox) -> None:
    mailbox.server.put(SPAM)
    mailbox.server.refuses = {"UID FETCH": "OK gone"}
    assert await mailbox.fetch() == (OK, "nothing new", "")


@pytest.mark.parametrize("move_to", [None, DONE])
async def test_a_server_without_extensions_expunges_only_when_no_one_else_marked_a_message(
    mailbox: Mailbox, move_to: str | None
) -> None:
    mailbox.server.extensions = ()
    for _ in range(2):
        mailbox.server.put(report(quoted_header(await mailbox.mail_in("sent"))))
    assert await mailbox.fetch(move_to) == (OK, "bounced 2", "")
    assert (len(mailbox.server.contents()), len(mailbox.server.contents(DONE))) == (0, 2 if move_to else 0)
    of_a_person = mailbox.server.put(SPAM, r"\Deleted")
    ours = mailbox.server.put(report(quoted_header(await mailbox.mail_in("sent"))))
    assert await mailbox.fetch(move_to) == (OK, "bounced 1", "")
    assert mailbox.server.folders["INBOX"] == [of_a_person, ours]
    assert r"\Deleted" in ours.flags
    assert await mailbox.fetch(move_to) == (OK, "nothing new", "")


async def test_a_message_that_a_person_marked_as_deleted_is_not_expunged(mailbox: Mailbox) -> None:
    mailbox.server.put(SPAM, r"\Deleted")
    mailbox.server.put(report(quoted_header(await mailbox.mail_in("sent"))))
    assert await mailbox.fetch() == (OK, "bounced 1", "")
    assert mailbox.server.contents() == [SPAM]


async def test_of_a_long_notice_the_beginning_is_read(mailbox: Mailbox) -> None:
    mail_id = await mailbox.mail_in("sent")
    mailbox.server.put(report(quoted_header(mail_id) + "\n" + "a line of the quoted mail\n" * 400_000))
    assert await mailbox.fetch() == (OK, "bounced 1", "")
    assert "UID FETCH 1 (BODY.PEEK[]<0.10485760>)" in mailbox.server.commands


async def test_a_folder_to_move_to_that_does_not_exist_is_told_before_anything_is_read(mailbox: Mailbox) -> None:
    mailbox.server.put(report(quoted_header(await mailbox.mail_in("sent"))))
    expected = "bounces fetch: there is no folder Archive to move notices to: nothing was read"
    assert await mailbox.fetch("Archive") == (TRY_AGAIN, "", expected)
    assert mailbox.server.read_count() == 0


@pytest.mark.parametrize("logins", [("AUTH=PLAIN",), ("AUTH=PLAIN", "LOGINDISABLED"), ()])
async def test_it_logs_in_as_the_server_asks(mailbox: Mailbox, logins: tuple[str, ...]) -> None:
    mailbox.server.logins = logins
    assert await mailbox.fetch() == (OK, "nothing new", "")


async def test_a_wrong_password_is_told_in_the_servers_words(mailbox: Mailbox, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("swordfish\n")
    mailbox.settings = {"mail_bounce_imap_password": "", "mail_bounce_imap_password_file": str(secret)}
    expected = "bounces fetch: logging in: [AUTHENTICATIONFAILED] wrong user or password"
    assert await mailbox.fetch() == (TRY_AGAIN, "", expected)
    secret.write_text(f"{PASSWORD}\n")
    assert await mailbox.fetch() == (OK, "nothing new", "")


async def test_a_server_that_cannot_be_reached_is_tried_again(mailbox: Mailbox) -> None:
    url = "imap://bounces@127.0.0.1:1/INBOX"
    expected = "bounces fetch: connecting to 127.0.0.1:1: ConnectionRefusedError: Connection refused"
    assert await mailbox.fetch(url=url) == (TRY_AGAIN, "", expected)


@pytest.mark.parametrize("trusted", [True, False])
async def test_imaps_verifies_the_certificate(mailbox: Mailbox, certificate: Path, trusted: bool) -> None:
    async with imap_server(ImapServer(tls=server_tls(certificate)), implicit_tls=True) as server:
        mailbox.server, mailbox.scheme = server, "imaps"
        mailbox.query = f"?ca={certificate / 'cert.pem'}" if trusted else ""
        status, out, error = await mailbox.fetch()
        assert (status, out) == ((OK, "nothing new") if trusted else (TRY_AGAIN, ""))
        assert error == "" or "self-signed certificate" in error
        assert bool(server.commands) == trusted


async def test_on_another_machine_a_plain_connection_is_encrypted_before_the_password_is_sent(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox
) -> None:
    monkeypatch.setattr("services.mail.bounces.imap_url.is_loopback", lambda _: False)
    expected = "bounces fetch: connecting to 127.0.0.1:{}: TLS not supported by server"
    assert await mailbox.fetch() == (TRY_AGAIN, "", expected.format(mailbox.server.port))
    assert not any(command.startswith(("LOGIN", "AUTH")) for command in mailbox.server.commands)
    async with imap_server(ImapServer(MODERN, tls=server_tls(certificate))) as server:
        mailbox.server, mailbox.query = server, f"?ca={certificate / 'cert.pem'}"
        assert await mailbox.fetch() == (OK, "nothing new", "")
        verbs = [command.partition(" ")[0] for command in server.commands]
        assert verbs.index("STARTTLS") < verbs.index("AUTHENTICATE")


ACCOUNT = "imaps://me@mail.example/INBOX"


@pytest.mark.parametrize(
    ("url", "move_to", "settings", "status", "words"),
    [
        ("imaps://me:swordfish@mail.example/INBOX", None, {}, BAD_USAGE, "the URL holds a password"),
        ("imaps://me:@mail.example/INBOX", None, {}, BAD_USAGE, "the URL holds a password"),
        ("pop3://me@mail.example/INBOX", None, {}, BAD_USAGE, "must look like imaps://user@host/INBOX"),
        ("imaps://mail.example/INBOX", None, {}, BAD_USAGE, "must look like imaps://user@host/INBOX"),
        ("imaps://me%0d%0a@mail.example/INBOX", None, {}, BAD_USAGE, "must look like imaps://user@host/INBOX"),
        ("imaps://me@mail.example:x/INBOX", None, {}, BAD_USAGE, "must look like imaps://user@host/INBOX"),
        ("imaps://me@mail.example/", None, {}, BAD_USAGE, "the name of a folder must be given"),
        ("imaps://me@mail.example/A%0d%0aB", None, {}, BAD_USAGE, "the name of a folder must be given"),
        (f"{ACCOUNT}?verify=no", None, {}, BAD_USAGE, "unknown parameter; allowed: ca"),
        ("imap://me@127.0.0.1/INBOX?ca=/x", None, {}, BAD_USAGE, "ca= needs TLS"),
        (ACCOUNT, "INBOX", {}, BAD_USAGE, "--move-to must name another folder"),
        (ACCOUNT, "", {}, BAD_USAGE, "the name of a folder must be given"),
        (ACCOUNT, None, {}, BAD_CONFIGURATION, "must hold the password"),
        (ACCOUNT, None, {"MAIL_BOUNCE_IMAP_PASSWORD": "sword\nfish"}, BAD_CONFIGURATION, "must hold the password"),
        (f"{ACCOUNT}?ca=/none", None, {"MAIL_BOUNCE_IMAP_PASSWORD": "x"}, BAD_CONFIGURATION, "ca=/none: No such file"),
        (
            ACCOUNT,
            None,
            {"MAIL_BOUNCE_IMAP_PASSWORD_FILE": "/none"},
            BAD_CONFIGURATION,
            "MAIL_BOUNCE_IMAP_PASSWORD_FILE=/none cannot be read: No such file or directory",
        ),
    ],
)
def test_it_says_what_is_wrong_with_its_exit_status_and_repeats_no_password(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    move_to: str | None,
    settings: dict[str, str],
    status: int,
    words: str,
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", UNREACHABLE)
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    assert run_fetch(url, move_to, Settings()) == status
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("bounces fetch: ")
    assert words in line
    assert "swordfish" not in captured.out + line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"MAIL_BOUNCE_IMAP_PASSWORD": "swordfish", "MAIL_BOUNCE_IMAP_PASSWORD_FILE": "/x"}, "exclude each other"),
        ({"MAIL_DATABASE_URL": ""}, "MAIL_DATABASE_URL or MAIL_RUNTIME_DATABASE_URL must be set"),
        ({"MAIL_LEASE_SECONDS": "swordfish"}, "MAIL_LEASE_SECONDS: "),
    ],
)
def test_a_wrong_setting_has_the_exit_status_of_a_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, str], words: str
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", UNREACHABLE)
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    assert main(["bounces", "fetch", ACCOUNT]) == BAD_CONFIGURATION
    error = capsys.readouterr().err
    assert words in error
    assert "swordfish" not in error


async def test_the_command_runs_as_cron_runs_it(mailbox: Mailbox, tmp_path: Path) -> None:
    """As a process, with the password in a file."""
    mailbox.server.put(report(quoted_header(await mailbox.mail_in("sent"))))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.mail", "bounces", "fetch", mailbox.url, "--move-to", DONE),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "MAIL_RUNTIME_DATABASE_URL": mailbox.clone.runtime_url,
            "MAIL_BOUNCE_IMAP_PASSWORD_FILE": str(tmp_path / "password"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert (await process.communicate(), process.returncode) == ((b"bounced 1\n", b""), OK)
