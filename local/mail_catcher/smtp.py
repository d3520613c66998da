"""The SMTP conversation. 250 after the dot means that the mail is on disk; any other answer means that it is not.

Recipients of the simulator (`simulator.py`) get other answers, or none.
"""

import asyncio
import logging
from typing import NoReturn

from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as SmtpEnvelope

from . import notices
from .feedback import Feedback
from .message import Envelope, message_id, parse
from .simulator import Behavior, FirstTimes, behavior_of, behaviors_of
from .store import Store

LARGEST_MAIL = 25 * 1024 * 1024
# RFC 5321 §4.5.3.1.6 lets a server refuse lines over 1,000 octets. The catcher shows such mails.
LONGEST_LINE = 1024 * 1024
IDLE_SECONDS = 300  # RFC 5321 §4.5.3.2.7

log = logging.getLogger(__name__)


class CatcherSMTP(SMTP):
    line_length_limit = LONGEST_LINE


class Handler:
    """aiosmtpd calls these methods by name. One handler serves all connections, because it counts over all of them."""

    def __init__(self, store: Store, feedback: Feedback) -> None:
        self._store = store
        self._feedback = feedback
        self._deferrals = FirstTimes()
        self._drops = FirstTimes()

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's signature
        self, _server: SMTP, session: Session, _envelope: SmtpEnvelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # Commands are read from a buffer line by line and answered in order, and no STARTTLS requires earlier input to
        # be discarded. So a client may send several at once (RFC 2920).
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's signature
        self, _server: SMTP, _session: Session, envelope: SmtpEnvelope, address: str, options: list[str]
    ) -> str:
        match behavior_of(address):
            case Behavior(name="refused", code=code):
                return f"550 {code} <{address}>: the simulator refuses every mail to this address"
            case Behavior(name="deferred", times=times):
                if self._deferrals.is_among_first(times, envelope.mail_from or "", address):
                    return f"451 4.2.0 <{address}>: the simulator takes this mail later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: SmtpEnvelope) -> str:  # noqa: N802
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogateescape")
        received = Envelope(envelope.mail_from or "", tuple(envelope.rcpt_tos))
        behaviors = behaviors_of(received.recipients)
        dropping = self._dropping(behaviors, raw)
        if any(behavior.name == "uncertain-lost" for behavior in dropping):
            await _drop(server)
        try:
            mail_id = await self._store.add(raw, received)
        except Exception:
            log.exception("cannot store a mail")
            return "451 4.3.0 Cannot store the mail now; try again later"
        await asyncio.sleep(max((b.seconds for b in behaviors if b.name == "slow"), default=0))
        if dropping:
            await _drop(server)
        self._report(behaviors, raw, received)
        return f"250 2.0.0 Ok: queued as {mail_id}"

    def _dropping(self, behaviors: list[Behavior], raw: bytes) -> list[Behavior]:
        named = [behavior for behavior in behaviors if behavior.name in {"uncertain", "uncertain-lost"}]
        mail = message_id(parse(raw)) if named else ""
        return [one for one in named if self._drops.is_among_first(one.times, one.recipient, mail)]

    def _report(self, behaviors: list[Behavior], raw: bytes, received: Envelope) -> None:
        for behavior in behaviors:
            if behavior.name == "bounce":
                notice = notices.bounce(raw, received, behavior.recipient, behavior.code)
                self._feedback.bring(notice, received.sender)
            elif behavior.name == "complaint":
                self._feedback.bring(notices.complaint(raw, received, behavior.recipient), received.sender)


async def _drop(server: SMTP) -> NoReturn:
    """Close the connection without a reply. aiosmtpd cancels the conversation once it is closed."""
    assert server.transport is not None
    server.transport.close()
    await asyncio.get_running_loop().create_future()
    raise AssertionError("canceled before")


def make_protocol(handler: Handler, loop: asyncio.AbstractEventLoop) -> CatcherSMTP:
    return CatcherSMTP(
        handler,
        data_size_limit=LARGEST_MAIL,
        enable_SMTPUTF8=True,
        hostname="catcher.localhost",
        ident="counterfoil mail catcher",
        timeout=IDLE_SECONDS,
        loop=loop,
    )
