"""The wire of one SMTP connection that is open and logged in: commands out, replies in, each in order.

This module does not know what a reply means or what a mail is. aiosmtplib opens the connection but cannot pipeline, so
this protocol then replaces its own (ADR 0017).
"""

import asyncio
from collections import deque
from typing import NamedTuple

# RFC 5321 section 4.5.3.1.5 allows 512 octets for a line. No more than this is kept of an endless line or reply.
_LONGEST_REPLY = 32_768
_CODE_DIGITS = 3
NO_REPLY = -1


class Reply(NamedTuple):
    code: int  # NO_REPLY for text that is no reply
    text: str  # without codes; lines end with \n


class ConnectionLost(Exception):  # noqa: N818 - a state of the wire
    """The connection has ended, or was closed, and no reply is left."""


class SmtpConversation(asyncio.Protocol):
    """One connection, taken over from aiosmtplib when no reply is outstanding."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._is_lost = False
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._partial_bytes = 0  # bytes of a reply whose last line has not arrived
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not self._is_lost and not self._transport.is_closing()

    @property
    def has_unsent(self) -> bool:
        """Whether sent bytes are still buffered in this process."""
        return self._transport.get_write_buffer_size() > 0

    def send(self, data: bytes, *, replies: int = 1) -> None:
        """Send `data`, which the other side answers with so many replies.

        Raises:
            ConnectionLost: no byte has left.
        """
        if not self.is_open:
            raise ConnectionLost
        self._expected += replies
        self._transport.write(data)

    async def read_reply(self, timeout_seconds: float) -> Reply:
        """The next reply.

        Raises:
            TimeoutError: none arrived in time.
            ConnectionLost: none can arrive any more.
        """
        if not self._replies:
            await self._wait_for_reply(timeout_seconds)
        if not self._replies:
            raise ConnectionLost
        self._expected -= 1
        return self._replies.popleft()

    async def _wait_for_reply(self, timeout_seconds: float) -> None:
        if self._is_lost:
            return
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_seconds, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        """Close at once and discard buffered bytes: after the verdict no byte of the mail may follow."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._add_line(line)
        if len(self._buffer) + self._partial_bytes > _LONGEST_REPLY:
            self._add_reply(Reply(NO_REPLY, "the reply is too long"))
            self.close()
        if len(self._replies) > self._expected:
            # Unrequested: the gateway is closing or out of step. It must not be read as the next command's reply.
            self.close()
        if self._replies:
            self._wake()

    def _add_line(self, line: bytes) -> None:
        code = line[:_CODE_DIGITS]
        if not (len(code) == _CODE_DIGITS and code.isdigit()):
            self._add_reply(Reply(NO_REPLY, _text(line)))
            return
        self._lines.append(line[_CODE_DIGITS + 1 :].strip())
        self._partial_bytes += len(line)
        if line[_CODE_DIGITS : _CODE_DIGITS + 1] != b"-":
            self._add_reply(Reply(int(code), _text(b"\n".join(self._lines))))

    def _add_reply(self, reply: Reply) -> None:
        self._lines.clear()
        self._partial_bytes = 0
        self._replies.append(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
