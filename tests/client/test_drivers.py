"""Both clients over real connections: what httpx reports is understood, and time is bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from counterfoil_client import AsyncMail, AsyncSignup, Mail, MailRecord, Retry, Signup, errors
from counterfoil_client.testing import FakeMailService
from local.ports import pick_free
from tests.support.listener import listening

PATIENT = Retry(deadline_seconds=120, attempt_seconds=60, base_seconds=0.001, cap_seconds=0.01)
# Where the time must run out. A busy machine needs most of it for a connection.
IMPATIENT = Retry(deadline_seconds=2.5, attempt_seconds=1, base_seconds=0.001, cap_seconds=0.01)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]

pytestmark = pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "asyncio"])


@asynccontextmanager
async def server(behave: Behave) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Reads a request, then does as it is told and hangs up."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.lower())
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0"
        await reader.readexactly(int(length))
        await behave(writer)

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}", heads


async def cancel(url: str, *, blocking: bool, retry: Retry = IMPATIENT) -> MailRecord:
    """A call that is not safe to repeat."""
    if blocking:

        def in_thread() -> MailRecord:
            with Mail(url, api_key="k", retry=retry) as mail:
                return mail.cancel(UUID(int=1))

        return await asyncio.to_thread(in_thread)
    async with AsyncMail(url, api_key="k", retry=retry) as mail:
        return await mail.cancel(UUID(int=1))


async def send(url: str, *, blocking: bool, api_key: str = "k", retry: Retry = IMPATIENT) -> MailRecord:
    if blocking:

        def in_thread() -> MailRecord:
            with Mail(url, api_key=api_key, retry=retry) as mail:
                return mail.send(request_id="one", to="a@x.example", subject="S", text="T")

        return await asyncio.to_thread(in_thread)
    async with AsyncMail(url, api_key=api_key, retry=retry) as mail:
        return await mail.send(request_id="one", to="a@x.example", subject="S", text="T")


async def _hang_up(_: asyncio.StreamWriter) -> None:
    """The request was read, and no answer comes."""


async def _half(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Content-Length: 100\r\n\r\n{"id":')
    await writer.drain()


async def _silence(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("behave", [_hang_up, _half, _silence, _drip])
async def test_an_answer_that_does_not_come_whole_and_in_time_is_lost(behave: Behave, *, blocking: bool) -> None:
    async with server(behave) as (url, heads):
        with pytest.raises(errors.LostAnswer):
            await cancel(url, blocking=blocking, retry=IMPATIENT if behave in {_silence, _drip} else PATIENT)
        assert len(heads) == 1


@pytest.mark.parametrize("behave", [_hang_up, _silence, _drip])
async def test_a_service_that_never_answers_is_given_up_at_the_deadline(behave: Behave, *, blocking: bool) -> None:
    async with server(behave) as (url, heads):
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await send(url, blocking=blocking)
        assert caught.value.may_have_arrived
        assert len(heads) > 1


async def test_a_service_that_is_away_was_never_reached(*, blocking: bool) -> None:
    with pytest.raises(errors.DeadlineExceeded) as caught:
        await cancel(f"http://127.0.0.1:{pick_free()}", blocking=blocking)
    assert not caught.value.may_have_arrived


async def test_the_error_repeats_nothing_of_the_request(*, blocking: bool) -> None:
    async with server(_hang_up) as (url, _):
        with pytest.raises(errors.LostAnswer) as caught:
            await cancel(url, blocking=blocking, retry=PATIENT)
        assert url.rpartition(":")[2] not in str(caught.value)


async def test_a_call_names_the_client_its_key_and_what_it_sends(*, blocking: bool) -> None:
    async with server(_hang_up) as (url, heads):
        with pytest.raises(errors.DeadlineExceeded):
            await send(url, blocking=blocking, api_key="cf_1_x")
    assert b"\r\nauthorization: bearer cf_1_x\r\n" in heads[0]
    assert b"\r\nuser-agent: counterfoil-client/" in heads[0]
    assert b"\r\ncontent-type: application/json\r\n" in heads[0]


async def test_a_lost_answer_of_a_send_is_asked_for_again_and_makes_one_mail(*, blocking: bool) -> None:
    with FakeMailService() as fake:
        fake.lose_answers(3)
        mail = await send(fake.url, blocking=blocking, api_key=fake.api_key(), retry=PATIENT)
        assert [each.id for each in fake.mails] == [mail.id]
        assert mail.replayed


@pytest.mark.parametrize("client", [Mail, AsyncMail, Signup, AsyncSignup])
async def test_a_url_or_key_that_cannot_work_is_noticed_at_the_start(client: type, *, blocking: bool) -> None:
    for url, key in [("mail.example", "k"), ("ftp://mail.example", "k"), ("http://", "k"), ("http://m", "a\nb"),
                     ("http://m", ""), ("http://m", " k")]:  # fmt: skip
        with pytest.raises(ValueError, match="must"):
            client(url, api_key=key)
    assert blocking in {True, False}


async def test_a_server_that_does_not_speak_tls_gets_no_request(*, blocking: bool) -> None:
    with pytest.raises(errors.DeadlineExceeded) as caught:
        async with server(_hang_up) as (url, heads):
            await cancel(url.replace("http", "https"), blocking=blocking)
    assert not caught.value.may_have_arrived
    assert heads == []
