"""The lab's SMTP server: it takes mails, misbehaves at a chosen phase, and keeps a record of what it took and refused.

The record is the truth about copies: an entry is made before the 250 leaves, as a gateway that queues a mail does.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.support.listener import Listener

# `taken`: the dot was read and the mail is kept, `dot`: it was read and the mail is not.
DROP_PHASES = ("connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "dot", "taken")
REPLY_PHASES = ("connect", "EHLO", "MAIL", "RCPT", "DATA", "dot")
_GOOD = {
    "connect": "220 lab ESMTP",
    "EHLO": "250-lab\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8",
    "DATA": "354 go ahead",
    "QUIT": "221 bye",
}
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>]+>)", re.IGNORECASE | re.MULTILINE)
_LINK = re.compile(rb"/verify/([A-Za-z0-9_.~-]+)")
_LIMIT = 1 << 24


@dataclass(frozen=True)
class Behavior:
    how: Literal["drop", "refuse", "slow"]
    phase: str
    share: float
    code: int = 0
    seconds: float = 0.0


def act(
    how: Literal["drop", "refuse", "slow"], phase: str, share: float, *, code: int = 0, seconds: float = 0.0
) -> Behavior:
    return Behavior(how, phase, share, code, seconds)


@dataclass
class Copy:
    """A mail that the gateway took. `answered`: its 250 was handed to the network."""

    message_id: str
    recipient: str
    digest: str
    at: float
    answered: bool = False


@dataclass(frozen=True)
class Refusal:
    """A reply other than a 2xx or 354; before RCPT without a recipient.

    A refused MAIL has one more, when the RCPT that was sent along with it tells for whom it was (RFC 2920).
    """

    recipient: str
    phase: str
    code: int
    at: float


class _Over(Exception):  # noqa: N818 - not an error: this conversation ends here
    """Close the connection."""


@dataclass
class Gateway:
    seed: int
    behavior: Behavior | None = None
    copies: list[Copy] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    # The token of the newest verification link for each recipient.
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.listener = Listener(self._serve, limit=_LIMIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(_Over, ValueError):
            await _Conversation(self, reader, writer).run()


class _Conversation:
    def __init__(self, gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.gateway = gateway
        self.reader = reader
        self.writer = writer
        self.sender_taken = self.recipient_taken = False
        self.refusing: Behavior | None = None
        self.recipient = ""

    async def run(self) -> None:
        if not await self._reply("connect", "220"):
            return
        while line := await self.reader.readline():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            await self._command(verb.upper(), rest)

    async def _command(self, verb: str, rest: str) -> None:
        match verb:
            case "MAIL":
                self.recipient, self.recipient_taken, self.refusing = "", False, None
                self.sender_taken = await self._reply("MAIL", "250 ok")
            case "RCPT":
                self.recipient = rest.partition("<")[2].partition(">")[0]
                if self.refusing is not None and not self.sender_taken:
                    self._note(self.refusing)
                self.recipient_taken = await self._reply("RCPT", "250 ok" if self.sender_taken else "503 MAIL first")
            case "DATA":
                if await self._reply("DATA", "354 go ahead" if self.recipient_taken else "554 no valid recipients"):
                    await self._body()
            case "QUIT":
                await self._reply("QUIT", "221 bye")
                raise _Over
            case _:
                await self._reply(verb, "250 ok")

    async def _body(self) -> None:
        behavior = self._hit("body")
        if behavior is not None:
            await self.reader.readline()
            raise _Over
        data = await self.reader.readuntil(b"\r\n.\r\n")
        if self._hit("dot", "drop"):
            raise _Over
        refusal = self._hit("dot", "refuse")
        if refusal is not None:
            await self._refuse(refusal)
            return
        copy = self._take(data)
        if self._hit("taken"):
            raise _Over
        if (slow := self._hit("dot", "slow")) is not None:
            await asyncio.sleep(slow.seconds)
        self.writer.write(b"250 2.0.0 taken\r\n")
        await self.writer.drain()
        copy.answered = not self.writer.is_closing()

    def _take(self, data: bytes) -> Copy:
        found = _MESSAGE_ID.search(data)
        message_id = found[1].decode() if found else ""
        copy = Copy(message_id, self.recipient, hashlib.sha256(data).hexdigest(), time.time())
        self.gateway.copies.append(copy)
        if link := _LINK.search(data.replace(b"=\r\n", b"")):
            self.gateway.tokens[self.recipient] = link[1].decode()
        return copy

    def _hit(self, phase: str, how: str | None = None) -> Behavior | None:
        """The present behavior, when it hits this conversation at this phase."""
        behavior = self.gateway.behavior
        if behavior is None or behavior.phase != phase or how not in (None, behavior.how):
            return None
        return behavior if self.gateway.random.random() < behavior.share else None

    async def _reply(self, phase: str, good: str) -> bool:
        """Reply as the behavior says; whether the client may go on."""
        behavior = self._hit(phase)
        if behavior is not None:
            if behavior.how == "drop":
                raise _Over
            if behavior.how == "refuse":
                await self._refuse(behavior)
                return False
            await asyncio.sleep(behavior.seconds)
        reply = _GOOD.get(phase, good) if good[:1] in "23" else good
        self.writer.write(reply.encode() + b"\r\n")
        await self.writer.drain()
        return good[:1] in "23"

    def _note(self, behavior: Behavior) -> None:
        self.gateway.refusals.append(Refusal(self.recipient, behavior.phase, behavior.code, time.time()))

    async def _refuse(self, behavior: Behavior) -> None:
        self.refusing = behavior
        self._note(behavior)
        enhanced = f"{behavior.code // 100}.7.1"
        self.writer.write(f"{behavior.code} {enhanced} the lab says no\r\n".encode())
        await self.writer.drain()
        if behavior.code == 421:
            raise _Over
