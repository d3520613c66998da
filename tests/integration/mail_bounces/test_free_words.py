"""A notice in a system's own words counts like a standard one, for a mail that it is tied to, and only for that."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from shared.contract.ids import uuid7
from tests.integration.mail.conftest import ALL_SCOPES
from tests.integration.mail.test_interventions import MAIL, SET_STATE
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mails import history_kinds
from tests.support.notices import in_free_words, quoted_header, report

RFC822 = {"Content-Type": "message/rfc822"}
DOMAIN = "bounces.example"
MEBIBYTE = 1 << 20

FAILED = """\
This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its recipients.

  a@x.example
    SMTP error from remote mail server after RCPT TO:<a@x.example>: 550 5.1.1 no such mailbox

------ This is a copy of the message, including all the headers. ------

{}
"""
DELAYED = """\
A message that you sent has not yet been delivered to one or more of its recipients.

a@x.example: 451 4.7.1 greylisted

No action is required on your part.

{}
"""
GAVE_UP = """\
Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<a@x.example>:
Connected but greeting failed. Remote host said: 421 4.4.5 Too busy
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.

{}
"""
FULL = FAILED.replace("550 5.1.1 no such mailbox", "552 5.2.2 mailbox is full")
MOVED = FAILED.replace("550 5.1.1 no such mailbox", "551 5.1.1 The address has changed")
ANSWER = "I am away until Monday. Your message could not be delivered to my colleague: 550 5.1.1 unknown.\n\n{}"


@pytest.fixture
async def mail_api(mail_database: Clone, redis_url: str) -> AsyncIterator[Api]:
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url, mail_bounce_domain=DOMAIN
    )
    async with running(create_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def client(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await mail_api.as_client("shop", ALL_SCOPES) as http:
        yield http


@pytest.fixture
async def mail_id(mail_api: Api, client: httpx.AsyncClient) -> str:
    """A mail that was sent."""
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    await mail_api.database.pool.execute(SET_STATE, "sent")
    return str(mail["id"])


async def _post(client: httpx.AsyncClient, raw: bytes) -> dict[str, Any]:
    answer = await client.post("/v1/bounces", content=raw, headers=RFC822)
    assert answer.status_code == 202, answer.text
    ingested: dict[str, Any] = answer.json()
    return ingested


async def _state(client: httpx.AsyncClient, mail_id: str) -> str:
    return str((await client.get(f"/v1/mails/{mail_id}")).json()["state"])


async def _suppressed(client: httpx.AsyncClient) -> list[str]:
    return [item["email"] for item in (await client.get("/v1/suppressions")).json()["items"]]


async def test_a_failure_bounces_the_mail_with_its_codes_and_words(client: httpx.AsyncClient, mail_id: str) -> None:
    ingested = await _post(client, in_free_words(FAILED.format(quoted_header(mail_id))))
    assert ingested == {"outcome": "bounced", "mail_id": mail_id}
    mail = (await client.get(f"/v1/mails/{mail_id}")).json()
    assert (mail["state"], mail["failure"]["code"], mail["failure"]["enhanced_code"]) == ("bounced", 550, "5.1.1")
    assert mail["failure"]["reason"] == "bounced with 5.1.1"
    assert mail["failure"]["reply"].endswith("after RCPT TO:<a@x.example>: 550 5.1.1 no such mailbox")
    (item,) = (await client.get("/v1/bounces", params={"mail_id": mail_id})).json()["items"]
    assert (item["kind"], item["status"], item["code"]) == ("failed", "5.1.1", 550)
    assert await _suppressed(client) == ["a@x.example"]


async def test_each_mark_of_the_mail_ties_it(client: httpx.AsyncClient, mail_id: str) -> None:
    verp = f"bounce+{UUID(mail_id).hex}@{DOMAIN}"
    for mark in (f"> X-Counterfoil-ID: {mail_id}", f"<{mail_id}@counterfoil.example>", f"Return-Path: <{verp}>"):
        assert (await _post(client, in_free_words(DELAYED.format(mark))))["mail_id"] == mail_id
    assert (await _post(client, in_free_words(DELAYED.format(""), to=verp)))["mail_id"] == mail_id


async def test_a_delay_only_adds_a_history_entry(mail_api: Api, client: httpx.AsyncClient, mail_id: str) -> None:
    ingested = await _post(client, in_free_words(DELAYED.format(quoted_header(mail_id))))
    assert ingested == {"outcome": "delayed", "mail_id": mail_id}
    assert await _state(client, mail_id) == "sent"
    assert (await history_kinds(mail_api.database.pool, UUID(mail_id)))[-1] == "mail.delayed"


async def test_a_system_that_gave_up_bounces_the_mail_and_suppresses_no_address(
    client: httpx.AsyncClient, mail_id: str
) -> None:
    assert (await _post(client, in_free_words(GAVE_UP.format(quoted_header(mail_id)))))["outcome"] == "bounced"
    failure = (await client.get(f"/v1/mails/{mail_id}")).json()["failure"]
    assert (failure["code"], failure["enhanced_code"]) == (421, "4.4.5")
    assert await _suppressed(client) == []


@pytest.mark.parametrize("words", [FULL, MOVED], ids=["full", "moved"])
async def test_a_full_mailbox_and_a_changed_address_suppress_no_address(
    client: httpx.AsyncClient, mail_id: str, words: str
) -> None:
    assert (await _post(client, in_free_words(words.format(quoted_header(mail_id)))))["outcome"] == "bounced"
    assert await _state(client, mail_id) == "bounced"
    assert await _suppressed(client) == []


async def test_words_that_are_tied_to_no_mail_change_nothing(client: httpx.AsyncClient, mail_id: str) -> None:
    address = "Message for a@x.example"
    for text in ("", address, quoted_header(uuid7()), f"bounce+{UUID(mail_id).hex}@evil.example"):
        ingested = await _post(client, in_free_words(FAILED.format(text)))
        assert ingested == {"outcome": "unmatched", "mail_id": None}
    assert await _state(client, mail_id) == "sent"
    assert await _suppressed(client) == []


async def test_words_about_another_clients_mail_change_nothing(mail_api: Api, mail_id: str) -> None:
    raw = in_free_words(FAILED.format(quoted_header(mail_id)))
    async with await mail_api.as_client("other", ["mails:operate"]) as other:
        assert await _post(other, raw) == {"outcome": "unmatched", "mail_id": None}
    state = await mail_api.database.pool.fetchval("SELECT state FROM mails WHERE id = $1", UUID(mail_id))
    assert state == "sent"


async def test_an_automatic_answer_and_a_forwarded_bounce_are_ignored(client: httpx.AsyncClient, mail_id: str) -> None:
    verp = f"bounce+{UUID(mail_id).hex}@{DOMAIN}"
    quoted = quoted_header(mail_id)
    person = {"sender": "Eva <eva@x.example>", "to": verp}
    messages = [
        in_free_words(ANSWER.format(quoted), subject="Out of office", **person),
        in_free_words(ANSWER.format(quoted), subject="Welcome", fields="Auto-Submitted: auto-replied\n", **person),
        in_free_words(FAILED.format(quoted), subject="Fwd: Undelivered mail", **person),
    ]
    for raw in messages:
        assert await _post(client, raw) == {"outcome": "ignored", "mail_id": mail_id}
    assert await _state(client, mail_id) == "sent"
    assert await _suppressed(client) == []


async def test_a_notice_that_quotes_ten_mebibytes_is_read(client: httpx.AsyncClient, mail_id: str) -> None:
    attachment = "A" * 76 + "\n"
    whole = report(quoted_header(mail_id) + "\n" + attachment * (10 * MEBIBYTE // 78 - 100))
    assert 9 * MEBIBYTE < len(whole) <= 10 * MEBIBYTE
    assert await _post(client, whole) == {"outcome": "bounced", "mail_id": mail_id}


@pytest.mark.parametrize(
    "hostile",
    [
        b"Content-Type: message/rfc822\n\n" * 300_000,
        b"From: MAILER-DAEMON\nContent-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 2_000_000,
        b"From: MAILER-DAEMON\nSubject: failure notice\n\n" + b"\0\r\xff\n" * 2_500_000,
        b"From: MAILER-DAEMON\nMessage-ID: <a\0b@x.example>\n\nundeliverable\nMessage-ID: <\0@x>",
    ],
    ids=["nested", "parts", "bytes", "nul"],
)
async def test_hostile_input_is_answered_and_not_with_a_fault(client: httpx.AsyncClient, hostile: bytes) -> None:
    ingested = await _post(client, hostile[: 10 * MEBIBYTE])
    assert (ingested["outcome"] in {"ignored", "unmatched"}, ingested["mail_id"]) == (True, None)
