"""The SMTP conversation. 250 after the dot means that the mail is on disk; any other answer means that it is not."""

import asyncio
import logging

from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as SmtpEnvelope

from .message import Envelope
from .store import Store

LARGEST_MAIL = 25 * 1024 * 1024
# RFC 5321 §4.5.3.1.6 lets a server refuse lines over 1,000 octets. The catcher shows such mails.
LONGEST_LINE = 1024 * 1024
IDLE_SECONDS = 300  # RFC 5321 §4.5.3.2.7

log = logging.getLogger(__name__)


class CatcherSMTP(SMTP):
    line_length_limit = LONGEST_LINE


class Handler:
    """aiosmtpd calls these methods by name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's signature
        self, _server: SMTP, session: Session, _envelope: SmtpEnvelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # Commands are read from a buffer line by line and answered in order, and no STARTTLS requires earlier input to
        # be discarded. So a client may send several at once (RFC 2920).
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: SmtpEnvelope) -> str:  # noqa: N802
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogateescape")
        try:
            mail_id = await self._store.add(raw, Envelope(envelope.mail_from or "", tuple(envelope.rcpt_tos)))
        except Exception:
            log.exception("cannot store a mail")
            return "451 4.3.0 Cannot store the mail now; try again later"
        return f"250 2.0.0 Ok: queued as {mail_id}"


def make_protocol(store: Store, loop: asyncio.AbstractEventLoop) -> CatcherSMTP:
    return CatcherSMTP(
        Handler(store),
        data_size_limit=LARGEST_MAIL,
        enable_SMTPUTF8=True,
        hostname="catcher.localhost",
        ident="counterfoil mail catcher",
        timeout=IDLE_SECONDS,
        loop=loop,
    )
