"""An SMTP server that follows a script at each step of the conversation."""

import asyncio
import contextlib
import enum
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .listener import listening


class Misbehavior(enum.Enum):
    DROP = "closes the connection"
    HANG = "does not reply"
    GARBAGE = "sends an invalid reply"


@dataclass(frozen=True)
class Slowly:
    """A reply sent byte by byte, each in its own segment."""

    reply: str


# A reply such as "450 4.2.1 later", lines separated by \n. None: the reply of a good server.
Act = str | Misbehavior | Slowly | None

# `banner`, `EHLO`, `AUTH`, `STARTTLS`, `MAIL`, `RCPT`, `DATA`, `body` (its first bytes), `dot`, `RSET`, `NOOP`, `QUIT`.
# A sequence is used one act per occurrence of the step; after its end the server behaves well.
Script = Mapping[str, Act | Sequence[Act]]

_GOOD = {"banner": "220 scripted ESMTP", "QUIT": "221 bye", "dot": "250 2.0.0 taken"}
_GO_AHEAD = "354 go ahead"


@dataclass
class Received:
    """A mail whose final dot arrived; `accepted` when the reply was 250."""

    sender: str
    recipient: str
    data: bytes
    accepted: bool = False


@dataclass
class ScriptedSmtp:
    script: Script
    extensions: Sequence[str] = ("SMTPUTF8",)
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    # The most commands that waited behind an unanswered one.
    most_waiting: int = 0
    port: int = 0
    # Set when the final dot has been read.
    dot_seen: asyncio.Event = field(default_factory=asyncio.Event)
    # Awaited between reading the final dot and answering it.
    before_dot_reply: Callable[[], Awaitable[object]] | None = None
    # What it does with a mail whose final dot it has read, instead of the script.
    on_dot: Callable[[Received], Act] | None = None
    # How many connections it lets in at once; None: any number. The others get this reply at this step (`banner`,
    # `EHLO` or `MAIL`); after a 421 it hangs up.
    lets_in: int | None = None
    turns_away_at: str = "banner"
    turns_away_with: str = "421 4.7.0 Too many concurrent SMTP connections"
    turned_away: int = 0
    let_in_now: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _used: dict[str, int] = field(default_factory=dict)

    def act(self, step: str) -> Act:
        acts = self.script.get(step)
        if isinstance(acts, Sequence) and not isinstance(acts, str):
            index = self._used.get(step, 0)
            self._used[step] = index + 1
            return acts[index] if index < len(acts) else None
        return acts

    @property
    def accepted(self) -> list[Received]:
        return [mail for mail in self.received if mail.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self.writers.add(writer)
        is_let_in = self.lets_in is None or self.let_in_now < self.lets_in
        self.let_in_now += is_let_in
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, _Over):
                await _Conversation(self, reader, writer, is_let_in=is_let_in).run()
        finally:
            self.open_now -= 1
            self.let_in_now -= is_let_in
            self.writers.discard(writer)
            writer.close()


class _Over(Exception):  # noqa: N818 - not an error: the script ends the conversation
    """Close the connection."""


class _Conversation:
    def __init__(
        self, server: ScriptedSmtp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_let_in: bool
    ) -> None:
        self.server = server
        self.is_let_in = is_let_in
        self.reader = reader
        self.writer = writer
        self.sender = self.recipient = ""
        self.sender_taken = self.recipient_taken = False

    async def run(self) -> None:
        await self._do("banner")
        while line := (await self.reader.readline()).decode():
            self.server.commands.append(line.strip())
            waiting = bytes(self.reader._buffer).count(b"\r\n")  # type: ignore[attr-defined]
            self.server.most_waiting = max(self.server.most_waiting, waiting)
            verb, _, rest = line.strip().partition(" ")
            await self._answer(verb.upper(), rest)

    async def _answer(self, verb: str, rest: str) -> None:
        match verb:
            case "EHLO":
                await self._do("EHLO", "\n".join(["250 scripted", *(f"250 {name}" for name in self.server.extensions)]))
            case "MAIL":
                self.sender = rest.partition("<")[2].partition(">")[0]
                self.recipient_taken = False
                self.sender_taken = (await self._do("MAIL")).startswith("2")
            case "RCPT":
                self.recipient = rest.partition("<")[2].partition(">")[0]
                good = "250 ok" if self.sender_taken else "503 5.5.1 MAIL first"
                self.recipient_taken = (await self._do("RCPT", good)).startswith("2")
            case "DATA":
                good = _GO_AHEAD if self.recipient_taken else "554 5.5.1 no valid recipients"
                if (await self._do("DATA", good)).startswith("354"):
                    await self._body()
            case "STARTTLS":
                await self._do("STARTTLS", "220 go")
                assert self.server.tls is not None
                await self.writer.start_tls(self.server.tls)
            case "QUIT":
                await self._do("QUIT")
                raise _Over
            case _:
                await self._do(verb, "235 in" if verb == "AUTH" else "250 ok")

    async def _body(self) -> None:
        lines: list[bytes] = []
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise _Over
            if not lines and self.server.act("body") is Misbehavior.DROP:
                raise _Over
            lines.append(line.removeprefix(b"."))
        received = Received(self.sender, self.recipient, b"".join(lines))
        self.server.received.append(received)
        self.server.dot_seen.set()
        if self.server.before_dot_reply is not None:
            await self.server.before_dot_reply()
        act = self.server.act("dot") if self.server.on_dot is None else self.server.on_dot(received)
        if (await self._perform("dot", act, "250 ok")).startswith("250"):
            received.accepted = True

    async def _do(self, step: str, good: str = "250 ok") -> str:
        """Follow the script and return the reply that was sent."""
        if not self.is_let_in and step == self.server.turns_away_at:
            return self._turn_away()
        return await self._perform(step, self.server.act(step), good)

    async def _perform(self, step: str, act: Act, good: str) -> str:
        match act:
            case Misbehavior.DROP:
                raise _Over
            case Misbehavior.HANG:
                await self.reader.read()  # until the client hangs up
                raise _Over
            case Misbehavior.GARBAGE:
                self.writer.write(b"\x16\x03 what?\r\n")
                return ""
            case Slowly(reply):
                for byte in _lines(reply):
                    self.writer.write(bytes([byte]))
                    await self.writer.drain()
                    await asyncio.sleep(0)
                return reply
            case _:
                reply = act or _GOOD.get(step, good)
                self.writer.write(_lines(reply))
                return reply

    def _turn_away(self) -> str:
        self.server.turned_away += 1
        self.writer.write(_lines(self.server.turns_away_with))
        if self.server.turns_away_with.startswith("421"):
            raise _Over
        return self.server.turns_away_with


def _lines(reply: str) -> bytes:
    """A multi-line reply has a hyphen after the code of all lines but the last (RFC 5321 section 4.2.1)."""
    *first, last = reply.split("\n")
    return "".join(f"{line[:3]}-{line[4:]}\r\n" for line in first).encode() + f"{last}\r\n".encode()


@asynccontextmanager
async def scripted_smtp(
    script: Script | None = None,
    *,
    extensions: Sequence[str] = ("SMTPUTF8",),
    tls: ssl.SSLContext | None = None,
    implicit_tls: bool = False,
    port: int = 0,
) -> AsyncIterator[ScriptedSmtp]:
    """A server on loopback for the length of the block; then it dies at once. Port 0 picks a free one."""
    scripted = ScriptedSmtp(script or {}, extensions, tls)
    async with listening(scripted.serve, port=port, tls=tls if implicit_tls else None) as scripted.port:
        yield scripted
