"""A mail server hands notices over by LMTP: 250 means committed, and any other reply that nothing has changed."""

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from local.ports import pick_free
from services.mail.app import create_app
from services.mail.bounces import lmtp_listener
from services.mail.bounces.listen_address import ListenAddress, open_socket
from services.mail.bounces.notice_size import LARGEST_NOTICE_BYTES
from services.mail.settings import Settings
from shared.contract.configuration import ConfigurationError
from shared.contract.ids import UUID, uuid7
from tests.integration.mail.test_interventions import SET_STATE
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mails import history_kinds, insert_mails, mail_row
from tests.support.notices import report
from tests.support.stack import eventually
from tests.support.tcp_forwarder import Forwarder

DOMAIN = "bounces.example"
BOUNCES = "SELECT count(*) FROM bounces"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
# As a server sends it that quotes nothing: only the envelope tells the mail.
SILENT = report("", to="postmaster@elsewhere.example")


def settings_for(database_url: str, redis_url: str, listen: str) -> Settings:
    return Settings(
        mail_runtime_database_url=database_url,
        redis_url=redis_url,
        mail_bounce_domain=DOMAIN,
        mail_bounce_listen=listen,
    )


class Postfix:
    """What a mail server says, one command at a time. Its calls block, so they run in a thread."""

    def __init__(self, host: str, port: int = 0) -> None:
        self._lmtp = smtplib.LMTP(host, port, local_hostname="mx.example", timeout=20)

    def hand_over(self, recipients: list[str], content: bytes, sender: str = "<>") -> list[tuple[int, str]]:
        """The reply to each recipient: of RCPT when it was refused, else the one after the data."""
        lmtp = self._lmtp
        lmtp.ehlo_or_helo_if_needed()
        assert lmtp.docmd(f"MAIL FROM:{sender} SIZE={len(content)}")[0] == 250
        replies = [lmtp.docmd(f"RCPT TO:<{recipient}>") for recipient in recipients]
        accepted = [index for index, (code, _) in enumerate(replies) if code == 250]
        if accepted:
            assert lmtp.docmd("DATA")[0] == 354
            lmtp.send(smtplib._quote_periods(content) + b"\r\n.\r\n")  # type: ignore[attr-defined] # as `sendmail` does
            for index in accepted:
                replies[index] = lmtp.getreply()
        lmtp.rset()
        return [(code, text.decode()) for code, text in replies]

    def close(self) -> None:
        self._lmtp.close()


def at(mail_id: UUID) -> str:
    return f"bounce+{mail_id.hex}@{DOMAIN}"


@pytest.fixture
async def api(mail_database: Clone, redis_url: str) -> AsyncIterator[Api]:
    settings = settings_for(mail_database.runtime_url, redis_url, f"127.0.0.1:{pick_free()}")
    async with running(create_app(settings), mail_database.database) as api:
        api.app.state.lmtp_port = int(settings.mail_bounce_listen.rpartition(":")[2])
        yield api


async def connect(api: Api) -> Postfix:
    return await asyncio.to_thread(Postfix, "127.0.0.1", api.app.state.lmtp_port)


async def hand_over(api: Api, *recipients: str, content: bytes = SILENT) -> list[tuple[int, str]]:
    server = await connect(api)
    try:
        return await asyncio.to_thread(server.hand_over, list(recipients), content)
    finally:
        server.close()


async def mail_in(api: Api, state: str) -> UUID:
    (mail_id,) = await insert_mails(api.database.pool)
    await api.database.pool.execute(SET_STATE, state)
    return mail_id


async def test_a_notice_is_committed_when_its_reply_is_250_and_the_envelope_tells_its_mail(api: Api) -> None:
    mail_id = await mail_in(api, "sent")
    assert await hand_over(api, at(mail_id)) == [(250, "2.0.0 bounced")]
    mail = await mail_row(api.database.pool, mail_id)
    assert (mail["state"], mail["failure_reply"]) == ("bounced", "550 5.1.1 <b@x.example>: User unknown")
    actor = await api.database.pool.fetchval("SELECT actor FROM history WHERE kind = 'mail.bounced'")
    assert actor == "key:bounces/lmtp"
    assert 'mail_bounces_total{outcome="bounced"} 1.0' in (await api.operations.get("/metrics")).text


async def test_a_notice_that_is_brought_again_changes_nothing(api: Api) -> None:
    mail_id = await mail_in(api, "sent")
    for _ in range(2):
        assert await hand_over(api, at(mail_id)) == [(250, "2.0.0 bounced")]
    assert await history_kinds(api.database.pool, mail_id) == ["mail.bounced"]
    assert await api.database.pool.fetchval(BOUNCES) == 1


async def test_each_recipient_gets_a_reply_of_its_own(api: Api) -> None:
    pool = api.database.pool
    sent = await mail_in(api, "sent")
    (sending,) = await insert_mails(pool)
    await pool.execute("UPDATE queue SET lease = gen_random_uuid()")
    await pool.execute("UPDATE mails SET state = 'sending' WHERE id = $1", sending)
    replies = await hand_over(api, at(sent), f"postmaster@{DOMAIN}", at(sending), at(uuid7()))
    assert replies == [
        (250, "2.0.0 bounced"),
        (550, "5.1.1 Only envelope senders of our mails take mail here"),
        (451, "4.2.0 The mail is still being sent; try again later"),
        (250, "2.0.0 unmatched"),
    ]


@pytest.mark.parametrize(
    "recipient",
    [
        f"postmaster@{DOMAIN}",
        f"bounce@{DOMAIN}",
        f"bounce+1@{DOMAIN}",
        f"bounce+{'0' * 32}@other.example",
        f"bounce+{'0' * 32}@sub.{DOMAIN}",
        f"bounce+{'0' * 32}@{DOMAIN}.other.example",
        f"bounce+{'0' * 33}@{DOMAIN}",
        f"xbounce+{'0' * 32}@{DOMAIN}",
    ],
)
async def test_only_envelope_senders_of_the_bounce_domain_take_mail(api: Api, recipient: str) -> None:
    ((code, _),) = await hand_over(api, recipient)
    assert code == 550
    assert await api.database.pool.fetchval(BOUNCES) == 0


async def test_an_address_in_capitals_is_the_same(api: Api) -> None:
    mail_id = await mail_in(api, "sent")
    assert await hand_over(api, at(mail_id).upper()) == [(250, "2.0.0 bounced")]


async def test_a_notice_that_comes_before_the_mail_is_recorded_as_sent_is_kept_by_the_server(api: Api) -> None:
    mail_id = await mail_in(api, "sending")
    assert await hand_over(api, at(mail_id)) == [(451, "4.2.0 The mail is still being sent; try again later")]
    assert await api.database.pool.fetchval(BOUNCES) == 0
    await api.database.pool.execute(SET_STATE, "sent")
    assert await hand_over(api, at(mail_id)) == [(250, "2.0.0 bounced")]


async def test_while_the_database_is_away_the_server_keeps_the_notice(mail_database: Clone, redis_url: str) -> None:
    forwarder = Forwarder(mail_database.runtime_url)
    settings = settings_for(forwarder.url, redis_url, f"127.0.0.1:{pick_free()}")
    (mail_id,) = await insert_mails(mail_database.database.pool)
    await mail_database.database.pool.execute(SET_STATE, "sent")
    async with running(create_app(settings), mail_database.database) as api:
        api.app.state.lmtp_port = int(settings.mail_bounce_listen.rpartition(":")[2])
        expected = [(451, "4.3.0 The database cannot be used now; try again later")]
        assert await hand_over(api, at(mail_id)) == expected
        await forwarder.open()
        assert await hand_over(api, at(mail_id)) == [(250, "2.0.0 bounced")]
        await forwarder.shut()


async def test_a_fault_of_our_own_leaves_the_notice_with_the_server_and_says_nothing_of_it(
    api: Api, mail_database: Clone
) -> None:
    await mail_database.as_owner("ALTER TABLE bounces RENAME TO gone")
    ((code, text),) = await hand_over(api, at(uuid7()))
    assert (code, text) == (451, "4.3.0 Internal fault; try again later")


async def test_a_notice_may_be_as_long_as_the_mails_that_it_quotes(api: Api) -> None:
    mail_id = await mail_in(api, "sent")
    long = report("Subject: x\n\n" + "a line of the quoted mail\n" * 300_000, to="postmaster@elsewhere.example")
    assert LARGEST_NOTICE_BYTES > len(long) > 8_000_000
    assert await hand_over(api, at(mail_id), content=long) == [(250, "2.0.0 bounced")]


async def test_a_larger_message_than_announced_is_refused_for_each_recipient(api: Api) -> None:
    server = await connect(api)
    lmtp = server._lmtp
    await asyncio.to_thread(lmtp.ehlo)
    assert lmtp.esmtp_features["size"] == str(LARGEST_NOTICE_BYTES)
    announced, _ = await asyncio.to_thread(lmtp.docmd, f"MAIL FROM:<> SIZE={LARGEST_NOTICE_BYTES + 1}")
    assert announced == 552
    # One that lies about its size.
    commands = ["MAIL FROM:<>", f"RCPT TO:<{at(uuid7())}>", f"RCPT TO:<{at(uuid7())}>", "DATA"]
    codes = [(await asyncio.to_thread(lmtp.docmd, command))[0] for command in commands]
    assert codes == [250, 250, 250, 354]
    lines = (b"x" * 98 + b"\r\n") * (LARGEST_NOTICE_BYTES // 100 + 1)
    await asyncio.to_thread(lmtp.send, lines + b".\r\n")
    assert [(await asyncio.to_thread(lmtp.getreply))[0] for _ in range(2)] == [552, 552]
    assert (await asyncio.to_thread(lmtp.noop))[0] == 250
    server.close()
    assert await api.database.pool.fetchval(BOUNCES) == 0


async def test_commands_that_come_at_once_are_answered_in_turn(api: Api) -> None:
    """RFC 2033 section 5 asks for pipelining (RFC 2920)."""
    mail_id = await mail_in(api, "sent")
    server = await connect(api)
    lmtp = server._lmtp
    await asyncio.to_thread(lmtp.ehlo)
    assert "pipelining" in lmtp.esmtp_features
    commands = ["MAIL FROM:<>", f"RCPT TO:<{at(mail_id)}>", f"RCPT TO:<x@{DOMAIN}>", "DATA"]
    await asyncio.to_thread(lmtp.send, "".join(f"{command}\r\n" for command in commands))
    assert [(await asyncio.to_thread(lmtp.getreply))[0] for _ in commands] == [250, 250, 550, 354]
    await asyncio.to_thread(lmtp.send, SILENT + b".\r\nNOOP\r\nMAIL FROM:<>\r\nDATA\r\nQUIT\r\n")
    replies = [await asyncio.to_thread(lmtp.getreply) for _ in range(5)]
    assert [code for code, _ in replies] == [250, 250, 250, 503, 221]
    assert replies[0][1] == b"2.0.0 bounced"
    server.close()


async def test_a_message_that_is_no_notice_is_taken_and_ignored(api: Api) -> None:
    mail_id = await mail_in(api, "sent")
    answer = b"From: a@x.example\r\nSubject: Out of office\r\n\r\n.Until Monday\r\n"
    assert await hand_over(api, at(mail_id), content=answer) == [(250, "2.0.0 ignored")]
    assert (await mail_row(api.database.pool, mail_id))["state"] == "sent"


async def test_more_connections_than_a_mail_server_opens_are_told_to_come_back(api: Api) -> None:
    servers = [await connect(api) for _ in range(lmtp_listener.MOST_CONNECTIONS)]
    with pytest.raises(smtplib.SMTPConnectError) as turned_away:
        await connect(api)
    assert turned_away.value.smtp_code == 421
    servers.pop().close()

    async def is_let_in() -> bool:
        try:
            servers.append(await connect(api))
        except smtplib.SMTPConnectError:
            return False
        return True

    await eventually(is_let_in, bool, what="a free place")
    for server in servers:
        server.close()


async def test_an_api_that_ends_drops_connections_and_the_notice_can_be_brought_again(
    mail_database: Clone, redis_url: str
) -> None:
    pool = mail_database.database.pool
    settings = settings_for(mail_database.runtime_url, redis_url, f"127.0.0.1:{pick_free()}")
    (mail_id,) = await insert_mails(pool)
    await pool.execute(SET_STATE, "sent")
    locking = await asyncpg.connect(mail_database.owner_url)
    async with running(create_app(settings), mail_database.database) as api:
        api.app.state.lmtp_port = int(settings.mail_bounce_listen.rpartition(":")[2])
        transaction = locking.transaction()
        await transaction.start()
        await locking.execute("SELECT FROM mails FOR UPDATE")
        handing_over = asyncio.create_task(hand_over(api, at(mail_id)))
        await eventually(lambda: pool.fetchval(WAITING), bool, what="the notice in the database")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        await handing_over
    await transaction.rollback()
    await locking.close()
    again = settings_for(mail_database.runtime_url, redis_url, f"127.0.0.1:{pick_free()}")
    async with running(create_app(again), mail_database.database) as api:
        api.app.state.lmtp_port = int(again.mail_bounce_listen.rpartition(":")[2])
        assert await hand_over(api, at(mail_id)) == [(250, "2.0.0 bounced")]


async def test_a_socket_in_the_file_system_serves_too_and_replaces_one_that_was_left_behind(
    mail_database: Clone, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "bounces"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()
    (mail_id,) = await insert_mails(mail_database.database.pool)
    await mail_database.database.pool.execute(SET_STATE, "sent")
    settings = settings_for(mail_database.runtime_url, redis_url, f"unix:{path}")
    async with running(create_app(settings), mail_database.database):
        assert path.stat().st_mode & 0o777 == 0o666
        with pytest.raises(ConfigurationError, match="Address already in use"):
            open_socket(ListenAddress(path=str(path)))
        server = await asyncio.to_thread(Postfix, str(path))
        replies: Any = await asyncio.to_thread(server.hand_over, [at(mail_id)], SILENT)
        server.close()
    assert replies == [(250, "2.0.0 bounced")]
