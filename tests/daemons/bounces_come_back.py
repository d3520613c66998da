"""A mail server takes a mail, finds no such user, and its own notice comes back: the mail is bounced with its words.

Not named test_*: `make test` must not collect it, because it needs Postfix, Exim and Dovecot.
"""

import asyncio
import contextlib
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest

from local.ports import pick_free
from shared.contract.ids import uuid7
from tests.support.databases import ROOT
from tests.support.stack import Ledgers, Stack, eventually

from .conftest import Mailbox
from .dovecot import PASSWORD, USER
from .exim import exim
from .postfix import postfix

RECIPIENT = "asa@local.example"
# Starts a mail server in a folder, on a port, that hands mail for the bounce domain to an LMTP port. The last port is
# that of Dovecot, which may know its users.
Server: TypeAlias = Callable[[Path, int, int, int], AbstractContextManager[None]]


def _postfix(folder: Path, port: int, lmtp_port: int, _dovecot_port: int) -> AbstractContextManager[None]:
    return postfix(folder, port, f"inet:127.0.0.1:{lmtp_port}")


def _exim(folder: Path, port: int, lmtp_port: int, _dovecot_port: int) -> AbstractContextManager[None]:
    return exim(folder, port, lmtp_port)


SERVERS = [
    pytest.param(_postfix, "5.1.1", 'unknown user: "asa"', id="postfix"),
    pytest.param(_exim, "5.0.0", f"{RECIPIENT} Unknown user", id="exim"),
    pytest.param(exim, "5.1.1", f"550 5.1.1 <{RECIPIENT}> User doesn't exist: {RECIPIENT}", id="exim-dovecot"),
]


@contextlib.contextmanager
def as_gateway(stack: Stack, port: int) -> Iterator[None]:
    """The mail worker sends through the mail server for the length of the block."""
    stack.terminate("mail-worker")
    stack.start("mail-worker", MAIL_GATEWAYS=f"smtp://127.0.0.1:{port}?name=gateway")
    try:
        yield
    finally:
        stack.terminate("mail-worker")


async def send(ledgers: Ledgers) -> str:
    """A mail to a user that the server does not have. Returns its ID."""
    await ledgers.execute("mail", "DELETE FROM suppressions")
    request = {"request_id": str(uuid7()), "to": {"email": RECIPIENT}, "subject": "Hello", "text": "Åsa"}
    answer = await ledgers.mail.post("/v1/mails", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def mail(ledgers: Ledgers, mail_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await ledgers.mail.get(f"/v1/mails/{mail_id}")).json()
    return found


async def assert_bounced(ledgers: Ledgers, mail_id: str, code: str, words: str) -> None:
    found = await eventually(lambda: mail(ledgers, mail_id), lambda found: found["state"] == "bounced", what="bounced")
    assert (found["failure"]["enhanced_code"], found["failure"]["reply"]) == (code, words)
    assert found["sent_at"] is not None
    kinds = [line["kind"] for line in (await ledgers.mail.get(f"/v1/mails/{mail_id}/history")).json()["items"]]
    assert kinds.count("mail.bounced") == 1
    suppressed = [item["source"] for item in (await ledgers.mail.get("/v1/suppressions")).json()["items"]]
    assert suppressed == (["bounce"] if code == "5.1.1" else [])


def fetch(stack: Stack, mailbox: Mailbox) -> tuple[int, str]:
    """Run the command as cron would. Returns its exit status and what it printed."""
    url = f"imaps://{quote(USER)}@127.0.0.1:{mailbox.imaps_port}/INBOX?ca={quote(str(mailbox.ca_file))}"
    done = subprocess.run(
        [sys.executable, "-m", "services.mail", "bounces", "fetch", url],
        cwd=ROOT,
        env=stack._environment | {"MAIL_BOUNCE_IMAP_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("server", "code", "words"), SERVERS)
async def test_a_notice_that_a_server_hands_over_by_lmtp_makes_the_mail_bounced_with_its_words(
    ledgers: Ledgers, mailbox: Mailbox, folder: Path, lmtp_port: int, server: Server, code: str, words: str
) -> None:
    port = pick_free()
    with server(folder, port, lmtp_port, mailbox.lmtp_port), as_gateway(ledgers.stack, port):
        await assert_bounced(ledgers, await send(ledgers), code, words)


@pytest.mark.parametrize(("server", "code", "words"), SERVERS)
async def test_a_notice_that_is_fetched_from_a_mailbox_makes_the_mail_bounced_with_its_words(
    ledgers: Ledgers, mailbox: Mailbox, folder: Path, server: Server, code: str, words: str
) -> None:
    port = pick_free()
    with server(folder, port, mailbox.lmtp_port, mailbox.lmtp_port), as_gateway(ledgers.stack, port):
        mail_id = await send(ledgers)

        async def fetched() -> tuple[int, str]:
            return await asyncio.to_thread(fetch, ledgers.stack, mailbox)

        await eventually(fetched, lambda found: found == (0, "bounced 1\n"), what="the notice in the mailbox")
        await assert_bounced(ledgers, mail_id, code, words)
        assert await fetched() == (0, "nothing new\n")


@pytest.mark.parametrize(("server", "code", "words"), SERVERS)
async def test_a_server_keeps_a_notice_while_the_api_is_away(
    ledgers: Ledgers, mailbox: Mailbox, folder: Path, lmtp_port: int, server: Server, code: str, words: str
) -> None:
    port, stack = pick_free(), ledgers.stack
    with server(folder, port, lmtp_port, mailbox.lmtp_port), as_gateway(stack, port):
        mail_id = await send(ledgers)
        stack.kill("mail-api")
        sent = "SELECT state = 'sent' FROM mails WHERE id = $1::text::uuid"
        await eventually(lambda: ledgers.fetchval("mail", sent, mail_id), bool, what="sent")
        await stack.bring_back()
        await assert_bounced(ledgers, mail_id, code, words)


@pytest.mark.parametrize("server", [_postfix, _exim], ids=["postfix", "exim"])
def test_a_server_takes_mail_only_for_envelope_senders_of_the_bounce_domain(folder: Path, server: Server) -> None:
    """It would return spam for any other address to a forged sender."""
    port, nothing = pick_free(), pick_free()
    with server(folder, port, nothing, nothing), smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
        smtp.ehlo()
        smtp.mail("<>")
        local_parts = [f"bounce+{'0f' * 16}", f"bounce+{'0f' * 15}", "bounce", "postmaster", f"xbounce+{'0f' * 16}"]
        codes = [smtp.rcpt(f"{local_part}@bounces.example")[0] for local_part in local_parts]
    assert codes == [250, 550, 550, 550, 550]


async def test_postfix_hands_a_notice_over_through_a_socket_in_the_file_system(ledgers: Ledgers, folder: Path) -> None:
    port, stack, listen = pick_free(), ledgers.stack, f"unix:{folder}/counterfoil"
    stack.terminate("mail-api")
    stack.start("mail-api", MAIL_BOUNCE_LISTEN=listen)
    await stack.bring_back()
    with postfix(folder, port, listen), as_gateway(stack, port):
        await assert_bounced(ledgers, await send(ledgers), "5.1.1", 'unknown user: "asa"')
    stack.terminate("mail-api")
