"""The proxy, the gateway and the subscriber do what a fault tells them, and keep the record that a verdict needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from local.ports import pick_free
from tests.support.listener import Listener

from .gateway import DROP_PHASES, Gateway, act
from .proxy import Proxy, Trouble
from .receiver import Receiver

MAIL = b"Message-ID: <one@lab>\r\n\r\nHello https://x.example/verify/abc-1\r\n.\r\n"
COMMANDS = (b"EHLO x\r\n", b"MAIL FROM:<a@x>\r\n", b"RCPT TO:<b@x>\r\n", b"DATA\r\n", MAIL)


@asynccontextmanager
async def _open_gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway(1)
    await gateway.listener.open(pick_free())
    try:
        yield gateway
    finally:
        await gateway.listener.close()


async def _send(port: int) -> bytes:
    """Send one mail; return the code of the last reply, nothing when the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reply = await reader.readline()
    for command in COMMANDS:
        if not reply or reply[:1] not in b"23":
            break
        try:
            writer.write(command)
            await writer.drain()
            while (reply := await reader.readline())[3:4] == b"-":
                pass
        except ConnectionError:
            reply = b""
    writer.close()
    return reply[:3]


async def test_the_gateway_keeps_a_copy_of_what_it_took() -> None:
    async with _open_gateway() as gateway:
        assert await _send(gateway.listener.port) == b"250"
        (copy,) = gateway.copies
        assert (copy.message_id, copy.recipient, copy.answered) == ("<one@lab>", "b@x", True)
        assert gateway.tokens == {"b@x": "abc-1"}


@pytest.mark.parametrize("phase", DROP_PHASES)
async def test_a_gateway_that_drops_has_a_copy_only_when_it_took_the_mail(phase: str) -> None:
    async with _open_gateway() as gateway:
        gateway.behavior = act("drop", phase, 1.0)
        assert await _send(gateway.listener.port) == b""
        assert [copy.answered for copy in gateway.copies] == ([False] if phase == "taken" else [])


@pytest.mark.parametrize("phase", ["connect", "EHLO", "MAIL", "RCPT", "DATA", "dot"])
@pytest.mark.parametrize("code", [421, 451, 550])
async def test_a_gateway_that_refuses_keeps_the_refusal_and_no_copy(phase: str, code: int) -> None:
    async with _open_gateway() as gateway:
        gateway.behavior = act("refuse", phase, 1.0, code=code)
        assert await _send(gateway.listener.port) == str(code).encode()
        assert [(refusal.phase, refusal.code) for refusal in gateway.refusals] == [(phase, code)]
        assert gateway.copies == []


async def test_a_refused_sender_is_kept_with_the_recipient_that_was_sent_along() -> None:
    async with _open_gateway() as gateway:
        gateway.behavior = act("refuse", "MAIL", 1.0, code=550)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.listener.port)
        await reader.readline()
        writer.write(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        assert [(await reader.readline())[:3] for _ in range(3)] == [b"550", b"503", b"554"]
        writer.close()
        assert [(refusal.recipient, refusal.phase) for refusal in gateway.refusals] == [("", "MAIL"), ("b@x", "MAIL")]


@asynccontextmanager
async def _open_proxy(trouble: Trouble | None) -> AsyncIterator[tuple[Proxy, asyncio.Queue[bytes]]]:
    """A proxy before a server that answers each line with itself; and the lines that it got."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            got.put_nowait(line)
            writer.write(line)

    server = Listener(echo)
    await server.open(pick_free())
    proxy = Proxy(pick_free(), lambda: ("127.0.0.1", server.port))
    await proxy.open()
    proxy.trouble = trouble
    try:
        yield proxy, got
    finally:
        proxy.trouble = None
        await proxy.close()
        await server.close()


@pytest.mark.parametrize("trouble", [None, Trouble.DELAY])
async def test_a_proxy_passes_on_what_both_sides_say(trouble: Trouble | None) -> None:
    async with _open_proxy(trouble) as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"one\n"
        writer.close()


async def test_a_proxy_that_loses_answers_passes_requests_on() -> None:
    async with _open_proxy(Trouble.LOSE_ANSWERS) as (proxy, got):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one\n")
        assert await got.get() == b"one\n"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.2)
        writer.close()


async def test_a_half_open_connection_passes_nothing_on() -> None:
    async with _open_proxy(Trouble.SWALLOW) as (proxy, got):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.2)
        assert got.empty()
        writer.close()


async def test_connections_that_are_cut_end_and_new_ones_too() -> None:
    async with _open_proxy(None) as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one\n")
        await reader.readline()
        proxy.trouble = Trouble.REFUSE
        await proxy.cut()
        again, another = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _rest(reader) == await _rest(again) == b""
        writer.close()
        another.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(("fails", "status"), [(None, b"204"), ("500", b"500"), ("hang_up", b"")])
async def test_a_subscriber_keeps_each_call_and_whether_it_said_yes(fails: str | None, status: bytes) -> None:
    receiver = Receiver(fails)
    await receiver.listener.open(pick_free())
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.listener.port)
    body = b'{"type": "mail.sent", "data": {"id": "m", "state": "sent"}}'
    writer.write(b"POST /mail HTTP/1.1\r\nwebhook-id: w\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    assert (await reader.readline())[9:12] == status
    (call,) = receiver.calls
    assert (call.subscriber, call.webhook_id, call.subject, call.answered) == ("mail", "w", "m", status == b"204")
    writer.close()
    await receiver.listener.close()
