"""Reads the data of an LMTP conversation into one buffer, bounded for each message and for all together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Of messages larger than this, few are in memory at once; the clients of the others wait.
_SMALL_BYTES = 1 << 20
LARGE_AT_ONCE = 2
_CHUNK_BYTES = 64 << 10
_LINE_END, _END = b"\r\n", b"\r\n.\r\n"


@asynccontextmanager
async def read_data(
    reader: asyncio.StreamReader, most_bytes: int, turns: asyncio.Semaphore
) -> AsyncIterator[bytes | None]:
    """Read up to the line that is a dot (RFC 5321 section 4.5.2), and give what came before; None if it was too much.

    A large message has one of the `turns` until the end of the block.
    """
    has_turn = is_too_large = False
    # The end is a line: it may be the first one.
    data = bytearray(_LINE_END)
    looked = 0
    try:
        while (end := data.find(_END, looked)) < 0:
            looked = max(0, len(data) - len(_END) + 1)
            if len(data) > _SMALL_BYTES and not has_turn:
                await turns.acquire()
                has_turn = True
            if len(data) > most_bytes + _CHUNK_BYTES:
                is_too_large = True
                del data[:looked]
                looked = 0
            chunk = await reader.read(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError
            data += chunk
        _put_back(reader, bytes(data[end + len(_END) :]))
        is_too_large = is_too_large or end > most_bytes
        # A dot that begins a line was doubled.
        text = data[: end + len(_LINE_END)].replace(b"\r\n.", _LINE_END)
        del data
        yield None if is_too_large else bytes(text[len(_LINE_END) :])
    finally:
        if has_turn:
            turns.release()


def _put_back(reader: asyncio.StreamReader, commands: bytes) -> None:
    """What a client sent at once with the message (RFC 2920) is read next. A reader has no call for that."""
    reader._buffer[:0] = commands  # type: ignore[attr-defined] # noqa: SLF001 - as above
