"""The end of a listener is the end of its connections, so that no test finds the socket of another one."""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Iterator

import pytest

from .listener import Listener, listening


@pytest.fixture
def left_behind() -> Iterator[list[str]]:
    """What the garbage collector finds open, once it is asked for."""
    found: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: found.append(str(unraisable.exc_value))
    try:
        yield found
    finally:
        sys.unraisablehook = before


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readexactly(5))
    await reader.read()


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_that_was_just_coming_in_is_cut(left_behind: list[str], turns: int) -> None:
    async def connect_and_close() -> None:
        listener = Listener(_echo)
        await listener.open()
        with socket.create_connection(("127.0.0.1", listener.port)) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.close()
            with contextlib.suppress(ConnectionError):
                client.sendall(b"hello")
                assert client.recv(1) == b""

    asyncio.run(connect_and_close())
    gc.collect()
    assert left_behind == []


async def test_a_connection_in_the_middle_of_its_work_is_cut() -> None:
    async with listening(_echo) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
