"""One SMTP connection: how it is opened, and how one mail is handed over on it (RFC 5321 section 3.3).

The phases are driven here one by one, because a drop looks the same at every command, and only the phase says whether
the mail may have left.
"""

import re
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from ..verdict import Outcome, Step, Verdict, accepts, classify, interrupted, own_fault, unsendable
from .protocol import Envelope
from .settings import GatewaySettings, Tls

# What would end an address, or begin another parameter or command, on the command line.
_UNSAFE = re.compile(r"[\s<>\x00-\x1f\x7f]")
_GOING_AWAY = 421
_GOODBYE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    command_seconds: float = 60.0
    # 10 min: RFC 5321 section 4.5.3.2.6, or the mail arrives twice.
    reply_seconds: float = 600.0


class Ended(Exception):  # noqa: N818 - a verdict, which may be a good one
    """The conversation about this mail is over."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


async def open_connection(
    settings: GatewaySettings, timeouts: Timeouts, ehlo_name: str, tls_context: ssl.SSLContext | None
) -> "SmtpConnection":
    """Connect, start TLS where it is due, log in.

    Raises:
        Ended: it cannot be done; the verdict is a gateway fault.
    """
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        local_hostname=ehlo_name,
        timeout=timeouts.command_seconds,
        use_tls=settings.tls is Tls.IMPLICIT,
        start_tls=settings.tls is Tls.STARTTLS,
        tls_context=tls_context,
    )
    try:
        await client.connect()
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        client.close()
        raise Ended(_not_connected(error)) from error
    except BaseException:
        client.close()
        raise
    return SmtpConnection(client, timeouts)


def _not_connected(error: Exception) -> Verdict:
    """Our words: a library's message may hold what the gateway said."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return classify(Step.CONNECT, error.code, error.message)
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return interrupted(Step.CONNECT, f"TLS failed ({type(causes[-1]).__name__})")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return interrupted(Step.CONNECT, "timed out")
    if type(error) is aiosmtplib.SMTPException:  # the library's own refusals: no STARTTLS or no AUTH offered
        return interrupted(Step.CONNECT, error.message)
    return interrupted(Step.CONNECT, f"cannot connect ({type(causes[-1]).__name__})")


class SmtpConnection:
    """An open connection, and what is known about its condition."""

    def __init__(self, client: aiosmtplib.SMTP, timeouts: Timeouts) -> None:
        self._client = client
        self._timeouts = timeouts
        self.transactions = 0
        self.idle_since = time.monotonic()
        # A refused command left the envelope open.
        self._needs_reset = False
        # It had been closed behind our back: this says nothing about the gateway.
        self.was_stale = False

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    async def is_ready(self, *, idle_seconds: float) -> bool:
        """Whether it can take a mail, asked of the other side when there is reason to."""
        if not self.is_open:
            return False
        if self._needs_reset:
            return await self._answers(self._client.rset)
        if time.monotonic() - self.idle_since > idle_seconds:
            return await self._answers(self._client.noop)
        return True

    async def _answers(self, command: Callable[[], Awaitable[object]]) -> bool:
        try:
            await command()
        except (aiosmtplib.SMTPException, OSError):
            self.drop()
            return False
        self._needs_reset = False
        return True

    async def transact(
        self, envelope: Envelope, body: bytes, about_to_transmit: Callable[[], Awaitable[bool]]
    ) -> Verdict:
        """Hand one mail over. After anything that leaves the conversation out of step the connection is dropped."""
        if _UNSAFE.search(envelope.sender + envelope.recipient):
            return unsendable("an address cannot stand in an envelope")
        options: tuple[bytes, ...] = ()
        if envelope.needs_smtputf8:
            if not self._client.supports_extension("smtputf8"):
                return unsendable("an address needs SMTPUTF8, which the gateway does not offer")
            options = (b"SMTPUTF8",)
        self.transactions += 1
        try:
            await self._say(Step.MAIL, b"MAIL", b"FROM:<" + envelope.sender.encode() + b">", *options)
            await self._say(Step.RCPT, b"RCPT", b"TO:<" + envelope.recipient.encode() + b">")
            protocol = self._client.protocol
            await self._say(Step.DATA, b"DATA")
            return await self._transmit(protocol, body, about_to_transmit)
        except Ended as ended:
            return ended.verdict
        except BaseException:  # cancelled: the other side may be anywhere in the conversation
            self.drop()
            raise

    async def _say(self, step: Step, *words: bytes) -> None:
        try:
            code, text = await self._client.execute_command(*words)
        except aiosmtplib.SMTPResponseException as error:  # what came is no reply
            self.drop()
            raise Ended(classify(step, -1, error.message)) from error
        except (aiosmtplib.SMTPTimeoutError, TimeoutError) as error:
            self.drop()
            raise Ended(interrupted(step, "timed out")) from error
        except (aiosmtplib.SMTPServerDisconnected, OSError) as error:
            self._drop_perhaps_stale(step)
            raise Ended(interrupted(step, "connection lost")) from error
        if not accepts(step, code):
            verdict = classify(step, code, text)
            self._needs_reset = True
            if verdict.outcome is Outcome.GATEWAY_FAULT:
                self._drop_perhaps_stale(step)
            raise Ended(verdict)

    def _drop_perhaps_stale(self, step: Step) -> None:
        self.was_stale = step is Step.MAIL and self.transactions > 1
        self.drop()

    async def _transmit(
        self, protocol: SMTPProtocol | None, body: bytes, about_to_transmit: Callable[[], Awaitable[bool]]
    ) -> Verdict:
        stuffed = _dot_stuffed(body)
        if not await about_to_transmit():
            self.drop()  # after 354 there is no other way to say no
            return own_fault("nothing sent: the transmission could not be recorded")
        assert protocol is not None  # it has just answered DATA
        try:
            protocol.write(stuffed)
        except aiosmtplib.SMTPServerDisconnected:  # raised before the first byte
            self.drop()
            return interrupted(Step.DATA, "connection lost")
        try:
            code, text = await protocol.read_response(timeout=self._timeouts.reply_seconds)
        except aiosmtplib.SMTPResponseException as error:
            self.drop()
            return classify(Step.BODY, -1, error.message)
        except (aiosmtplib.SMTPTimeoutError, TimeoutError):
            self.drop()
            return interrupted(Step.BODY, "timed out")
        except (aiosmtplib.SMTPException, OSError):
            self.drop()
            return interrupted(Step.BODY, "connection lost")
        verdict = classify(Step.BODY, code, text)
        self._needs_reset = verdict.outcome is not Outcome.ACCEPTED
        if code == _GOING_AWAY or verdict.outcome is Outcome.UNKNOWN:
            self.drop()
        return verdict

    def drop(self) -> None:
        """Close without a word."""
        self._client.close()

    async def quit(self) -> None:
        """Say good-bye, and close whatever the answer."""
        try:
            if self.is_open:
                await self._client.quit(timeout=min(_GOODBYE_SECONDS, self._timeouts.command_seconds))
        except (aiosmtplib.SMTPException, OSError):
            pass  # it is being closed: nothing depends on a polite answer
        finally:
            self.drop()


def _dot_stuffed(body: bytes) -> bytes:
    """With the final dot (RFC 5321 section 4.5.2)."""
    stuffed = body.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
