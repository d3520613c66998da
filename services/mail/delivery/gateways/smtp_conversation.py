"""The wire of one SMTP connection that is open and logged in: commands out, replies in, each in its order.

What a reply means, and what a mail is, does not come in here. aiosmtplib opens connections, and cannot pipeline, so its
protocol is replaced by this one afterwards (ADR 0017).
"""

import asyncio
from collections import deque
from typing import NamedTuple

# RFC 5321 section 4.5.3.1.5 allows 512 octets for a line; nothing of a gateway that never ends one, or never ends its
# reply, is kept beyond this.
_LONGEST_REPLY = 32_768
_CODE_DIGITS = 3
NO_REPLY = -1


class Reply(NamedTuple):
    code: int  # NO_REPLY for words that are none
    text: str  # without codes; lines end with \n


class ConnectionIsLost(Exception):  # noqa: N818 - a state of the wire
    """The connection has ended, or was closed, and no reply is left."""


class SmtpConversation(asyncio.Protocol):
    """One connection, taken over from whoever opened it at a moment when neither side owes the other a word."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._is_lost = False
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._unfinished = 0  # bytes of a reply whose last line has not come
        self._replies: deque[Reply] = deque()
        self._owed = 0
        self._waiter: asyncio.Future[None] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not self._is_lost and not self._transport.is_closing()

    @property
    def has_unsent(self) -> bool:
        """Whether what was said is still on its way out of this process."""
        return self._transport.get_write_buffer_size() > 0

    def say(self, words: bytes, *, replies: int = 1) -> None:
        """Send `words`, to which the other side owes so many replies.

        Raises:
            ConnectionIsLost: before a byte has left.
        """
        if not self.is_open:
            raise ConnectionIsLost
        self._owed += replies
        self._transport.write(words)

    async def reply(self, timeout_seconds: float) -> Reply:
        """The next reply.

        Raises:
            TimeoutError: there is none yet.
            ConnectionIsLost: there will be none.
        """
        if not self._replies:
            await self._something_to_read(timeout_seconds)
        if not self._replies:
            raise ConnectionIsLost
        self._owed -= 1
        return self._replies.popleft()

    async def _something_to_read(self, timeout_seconds: float) -> None:
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
        """Without a word, and without what has not left yet: after the verdict not a byte of the mail may follow."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._take(line)
        if len(self._buffer) + self._unfinished > _LONGEST_REPLY:
            self._keep(Reply(NO_REPLY, "a reply without end"))
            self.close()
        if len(self._replies) > self._owed:
            # Said unasked: it is saying good-bye, or out of step. It must not be taken for the next command's reply.
            self.close()
        if self._replies:
            self._wake()

    def _take(self, line: bytes) -> None:
        code = line[:_CODE_DIGITS]
        if not (len(code) == _CODE_DIGITS and code.isdigit()):
            self._keep(Reply(NO_REPLY, _text(line)))
            return
        self._lines.append(line[_CODE_DIGITS + 1 :].strip())
        self._unfinished += len(line)
        if line[_CODE_DIGITS : _CODE_DIGITS + 1] != b"-":
            self._keep(Reply(int(code), _text(b"\n".join(self._lines))))

    def _keep(self, reply: Reply) -> None:
        self._lines.clear()
        self._unfinished = 0
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


def _text(words: bytes) -> str:
    return words.decode("utf-8", "surrogateescape")
