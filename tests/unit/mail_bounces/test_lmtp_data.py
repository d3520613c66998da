"""The data of an LMTP conversation ends where RFC 5321 says, and is bounded in memory."""

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.bounces.lmtp_data import LARGE_AT_ONCE, read_data

MOST = 3 << 20
LARGE = b"x" * (2 << 20)


def reader_of(*chunks: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    return reader


async def read(reader: asyncio.StreamReader, turns: asyncio.Semaphore | None = None) -> bytes | None:
    async with read_data(reader, MOST, turns or asyncio.Semaphore(1)) as content:
        return content


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\n.\nb\r.\rc\r\n.\n\r\n.\r\n", b"a\n.\nb\r.\rc\r\n\n\r\n"),
    ],
)
async def test_data_ends_at_a_line_that_is_a_dot_and_doubled_dots_are_single_again(sent: bytes, content: bytes) -> None:
    reader = reader_of(sent + b"QUIT\r\n")
    assert await read(reader) == content
    assert await reader.readline() == b"QUIT\r\n"


@given(st.lists(st.sampled_from([b"a", b".", b"\r\n", b"\n", b"..", b"\r"]), max_size=12), st.integers(1, 8))
def test_what_was_sent_arrives_however_the_network_cuts_it(pieces: list[bytes], size: int) -> None:
    message = b"".join(pieces) + b"\r\n"
    sent = b"".join(b"." + line if line.startswith(b".") else line for line in _lines(message)) + b".\r\n"

    async def both() -> tuple[bytes | None, bytes]:
        reader = asyncio.StreamReader()
        reading = asyncio.create_task(read(reader))
        for start in range(0, len(sent), size):
            reader.feed_data(sent[start : start + size])
            await asyncio.sleep(0)
        content = await reading
        reader.feed_data(b"NOOP\r\n")
        return content, await reader.readline()

    assert asyncio.run(both()) == (message, b"NOOP\r\n")


def _lines(message: bytes) -> list[bytes]:
    *lines, _ = message.split(b"\r\n")
    return [line + b"\r\n" for line in lines]


async def test_all_that_a_client_sent_behind_the_data_is_read_next_in_its_order() -> None:
    commands = b"".join(b"NOOP %d\r\n" % number for number in range(20_000))
    reader = reader_of(b"a\r\n.\r\n" + commands)
    assert await read(reader) == b"a\r\n"
    reader.feed_eof()
    assert await reader.read() == commands


class Flood(asyncio.StreamReader):
    """Ten times more than allowed, made as it is read."""

    left = 10 * MOST

    async def read(self, n: int = -1) -> bytes:
        if self.left <= 0:
            return await super().read(n)
        self.left -= n
        return b"x" * n


async def test_too_much_data_is_read_to_its_end_and_not_kept() -> None:
    reader = Flood()
    reader.feed_data(b"\r\n.\r\nQUIT\r\n")
    tracemalloc.start()
    try:
        assert await read(reader) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MOST
    assert await reader.readline() == b"QUIT\r\n"


async def test_the_limit_is_about_the_content_alone() -> None:
    for size, content in ((MOST, b"x" * (MOST - 2) + b"\r\n"), (MOST + 1, None)):
        assert await read(reader_of(b"x" * (size - 2) + b"\r\n.\r\n")) == content


async def test_empty_lines_take_no_more_memory_than_other_text() -> None:
    lines = b"\r\n" * (MOST // 2 - 1)
    reader = reader_of(lines + b".\r\n")
    tracemalloc.start()
    try:
        assert await read(reader) == lines
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MOST


async def test_few_large_messages_are_in_memory_at_once_and_small_ones_do_not_wait() -> None:
    turns = asyncio.Semaphore(LARGE_AT_ONCE)
    reading = [asyncio.create_task(read(reader_of(LARGE), turns)) for _ in range(LARGE_AT_ONCE)]
    await asyncio.sleep(0)
    assert turns.locked()
    waiting_reader = reader_of(LARGE + b"\r\n.\r\n")
    waiting = asyncio.create_task(read(waiting_reader, turns))
    assert await read(reader_of(b"small\r\n.\r\n"), turns) == b"small\r\n"
    assert not waiting.done()
    reading[0].cancel()
    assert await waiting == LARGE + b"\r\n"
    reading[1].cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    assert turns._value == LARGE_AT_ONCE
