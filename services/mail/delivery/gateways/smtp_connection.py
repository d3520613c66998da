"""One open SMTP connection that mails are handed over on, one after the other (RFC 5321 section 3.3).

This module drives the phases one by one: a drop looks the same at every command, and only the phase says whether the
mail may have left.
"""

import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ..smtp_outcomes import Outcome, Step, Verdict, accepts, classify, interrupted, own_fault, unsendable
from .protocol import Envelope
from .smtp_conversation import NO_REPLY, ConnectionLost, SmtpConversation

# Characters that would end an address, or begin another parameter or command.
_UNSAFE = re.compile(r"[\s<>\x00-\x1f\x7f]")
_SERVICE_CLOSING = 421
_QUIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    command_seconds: float = 60.0
    # 10 min: RFC 5321 section 4.5.3.2.6, or the mail arrives twice.
    reply_seconds: float = 600.0


class ConversationEnded(Exception):  # noqa: N818 - a verdict, which may be a good one
    """The conversation about this mail is over."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class SmtpConnection:
    """An open connection and its condition.

    `extensions` are those of the EHLO reply, names in lower case, each with what follows its name.
    """

    def __init__(self, conversation: SmtpConversation, extensions: Mapping[str, str], timeouts: Timeouts) -> None:
        self._conversation = conversation
        self._extensions = extensions
        self._largest_bytes = _announced_size(extensions.get("size", ""))
        self._timeouts = timeouts
        self.transactions = 0
        self.idle_since = time.monotonic()
        # A refused command left the envelope open.
        self._needs_reset = False
        # The gateway had closed it before this mail, which says nothing about the gateway.
        self.was_stale = False
        # Called whenever MAIL is accepted.
        self.on_let_in: Callable[[SmtpConnection], None] = _ignore

    @property
    def is_open(self) -> bool:
        return self._conversation.is_open

    async def is_ready(self, *, idle_seconds: float) -> bool:
        """Whether it can take a mail. Asks the gateway when there is reason to doubt."""
        if not self.is_open:
            return False
        if self._needs_reset:
            return await self._probe(b"RSET\r\n")
        if time.monotonic() - self.idle_since > idle_seconds:
            return await self._probe(b"NOOP\r\n")
        return True

    async def _probe(self, command: bytes) -> bool:
        try:
            self._conversation.send(command)
            code, _ = await self._conversation.read_reply(self._timeouts.command_seconds)
        except (ConnectionLost, TimeoutError):
            code = NO_REPLY
        if code // 100 != 2:  # noqa: PLR2004 - 2yz, RFC 5321 section 4.2.1
            self.drop()
            return False
        self._needs_reset = False
        return True

    async def transact(
        self, envelope: Envelope, body: bytes, about_to_transmit: Callable[[], Awaitable[bool]]
    ) -> Verdict:
        """Hand over one mail. Drops the connection after anything that leaves the conversation out of step."""
        if _UNSAFE.search(envelope.sender + envelope.recipient):
            return unsendable("an address has white space, angle brackets or control characters")
        if envelope.needs_smtputf8 and "smtputf8" not in self._extensions:
            return unsendable("an address needs SMTPUTF8, which the gateway does not offer")
        if self._largest_bytes and len(body) > self._largest_bytes:
            return unsendable(
                f"the mail has {len(body)} bytes, and the gateway takes at most {self._largest_bytes} (SIZE)"
            )
        self.transactions += 1
        try:
            await self._send_envelope(envelope)
            return await self._transmit(body, about_to_transmit)
        except ConversationEnded as ended:
            return ended.verdict
        except BaseException:  # canceled: the gateway may be at any step
            self.drop()
            raise

    async def _send_envelope(self, envelope: Envelope) -> None:
        """MAIL, RCPT and DATA: in one write where PIPELINING is offered (RFC 2920), else one after the other."""
        option = b" SMTPUTF8" if envelope.needs_smtputf8 else b""
        commands = (
            b"MAIL FROM:<" + envelope.sender.encode() + b">" + option + b"\r\n",
            b"RCPT TO:<" + envelope.recipient.encode() + b">\r\n",
            b"DATA\r\n",
        )
        steps = (Step.MAIL, Step.RCPT, Step.DATA)
        if "pipelining" not in self._extensions:
            for step, command in zip(steps, commands, strict=True):
                self._send(step, command)
                await self._expect_acceptance(step)
            return
        self._send(Step.MAIL, b"".join(commands), replies=len(commands))
        for place, step in enumerate(steps, 1):
            try:
                await self._expect_acceptance(step)
            except ConversationEnded:
                await self._discard_replies(steps[place:])
                raise

    def _send(self, step: Step, commands: bytes, *, replies: int = 1) -> None:
        try:
            self._conversation.send(commands, replies=replies)
        except ConnectionLost as error:
            raise ConversationEnded(self._broken_off(step, "connection lost")) from error

    async def _expect_acceptance(self, step: Step) -> None:
        """Raises ConversationEnded unless the conversation goes on."""
        try:
            code, text = await self._conversation.read_reply(self._timeouts.command_seconds)
        except TimeoutError as error:
            self.drop()
            raise ConversationEnded(interrupted(step, "timed out")) from error
        except ConnectionLost as error:
            raise ConversationEnded(self._broken_off(step, "connection lost")) from error
        if accepts(step, code):
            if step is Step.MAIL:
                self.on_let_in(self)
            return
        self._needs_reset = True
        verdict = classify(step, code, text)
        if code == NO_REPLY:
            self.drop()
        elif verdict.outcome is Outcome.GATEWAY_FAULT:
            self._drop_perhaps_stale(step)
        raise ConversationEnded(verdict)

    async def _discard_replies(self, steps: Sequence[Step]) -> None:
        """Read the replies to commands sent before the refusal arrived. They change nothing.

        After 354 the gateway waits for a message, but there is none (RFC 2920 section 3.1).
        """
        try:
            for step in steps:
                if not self.is_open:
                    return
                code, _ = await self._conversation.read_reply(self._timeouts.command_seconds)
                if code == NO_REPLY or (step is Step.DATA and accepts(step, code)):
                    self.drop()
        except (TimeoutError, ConnectionLost):
            self.drop()

    def _broken_off(self, step: Step, what: str) -> Verdict:
        self._drop_perhaps_stale(step)
        return interrupted(step, what)

    def _drop_perhaps_stale(self, step: Step) -> None:
        self.was_stale = step is Step.MAIL and self.transactions > 1
        self.drop()

    async def _transmit(self, body: bytes, about_to_transmit: Callable[[], Awaitable[bool]]) -> Verdict:
        stuffed = _dot_stuffed(body)
        if not await about_to_transmit():
            self.drop()  # after 354 only a drop can refuse
            return own_fault("nothing sent: the transmission could not be recorded")
        try:
            self._conversation.send(stuffed)
        except ConnectionLost:
            self.drop()
            return interrupted(Step.DATA, "connection lost")
        try:
            code, text = await self._conversation.read_reply(self._timeouts.reply_seconds)
        except TimeoutError:
            self.drop()
            return interrupted(Step.BODY, "timed out")
        except ConnectionLost:
            self.drop()
            return interrupted(Step.BODY, "connection lost")
        verdict = classify(Step.BODY, code, text)
        if verdict.outcome is Outcome.ACCEPTED and self._conversation.has_unsent:
            # The reply cannot be about a mail whose end has not left.
            self.drop()
            return interrupted(Step.BODY, "the gateway replied too early")
        self._needs_reset = verdict.outcome is not Outcome.ACCEPTED
        if code == _SERVICE_CLOSING or verdict.outcome is Outcome.UNKNOWN:
            self.drop()
        return verdict

    def drop(self) -> None:
        """Close without QUIT."""
        self._conversation.close()

    async def quit(self) -> None:
        """Send QUIT and close, whatever the reply: nothing depends on it."""
        with contextlib.suppress(ConnectionLost, TimeoutError):
            self._conversation.send(b"QUIT\r\n")
            await self._conversation.read_reply(min(_QUIT_SECONDS, self._timeouts.command_seconds))
        self.drop()


def _ignore(_connection: SmtpConnection) -> None:
    """The connection is not counted."""


def _announced_size(parameter: str) -> int:
    """RFC 1870 section 3: 0 or nothing means that the gateway names no limit."""
    return int(parameter) if re.fullmatch(r"[0-9]{1,18}", parameter.strip()) else 0


def _dot_stuffed(body: bytes) -> bytes:
    """With the final dot (RFC 5321 section 4.5.2)."""
    stuffed = body.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
