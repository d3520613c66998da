"""Takes notices from a mail server by LMTP (RFC 2033): 250 follows the commit, and 451 makes the server come back.

aiosmtpd speaks the protocol. What a notice means is not decided here but in `ingest`. It is loaded only when
`MAIL_BOUNCE_LISTEN` is set (ADR 0031).
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from shared.contract.principals import Principal
from shared.db.outages import UNAVAILABLE
from shared.db.pool import Database
from shared.observability.foreign_errors import describe
from shared.observability.log_throttle import LogThrottle
from shared.observability.logs import get_logger

from ..errors import StillSending
from ..ledger.listing import SEE_ALL
from .ingest import ingest
from .lmtp_data import LARGE_AT_ONCE, read_data
from .notice_size import LARGEST_NOTICE_BYTES

_log = get_logger(__name__)

# What Postfix opens to one destination unless told otherwise.
MOST_CONNECTIONS = 20
# Each recipient is a mail of its own, and a notice is about one mail.
_MOST_RECIPIENTS = 10
# For one command, and for a notice from its DATA to its reply.
_COMMAND_SECONDS = 120.0
# All recipients together fit into that, so that a database that hangs gets a reply as well.
_INGEST_SECONDS = 10.0
_SECONDS_BETWEEN_LINES = 60.0

_SENDER = Principal("bounces", "lmtp", frozenset([SEE_ALL]))


class LmtpListener:
    """Serves on a socket that is already bound, for as long as `serving`.

    `count` is called with the outcome of each notice that was ingested.
    """

    def __init__(
        self, listening: socket.socket, *, bounce_domain: str, suppression_days: int, count: Callable[[str], None]
    ) -> None:
        self._socket = listening
        self._bounce_domain = bounce_domain
        self._suppression_days = suppression_days
        self._count = count
        self._open: set[_Connection] = set()

    @asynccontextmanager
    async def serving(self, database: Database) -> AsyncIterator[None]:
        """At its end every connection is dropped. A notice without a reply is brought again, and changes nothing."""
        server = await self._start(database)
        try:
            yield
        finally:
            server.close()
            conversations = [connection.abort() for connection in list(self._open)]
            await asyncio.gather(*conversations, return_exceptions=True)

    async def _start(self, database: Database) -> asyncio.Server:
        loop = asyncio.get_running_loop()

        async def ingest_one(raw: bytes) -> str:
            ingested = await ingest(database, _SENDER, raw, self._bounce_domain, self._suppression_days)
            self._count(ingested.outcome)
            return ingested.outcome

        handler = _Handler(self._bounce_domain, ingest_one)

        def connect() -> _Connection:
            return _Connection(handler, self._open, hostname=self._bounce_domain, loop=loop)

        if self._socket.family == socket.AF_UNIX:
            return await loop.create_unix_server(connect, sock=self._socket)
        return await loop.create_server(connect, sock=self._socket)


class _Connection(LMTP):
    """aiosmtpd's conversation, with data and its replies as RFC 2033 has them."""

    event_handler: "_Handler"

    def __init__(self, handler: "_Handler", opened: "set[_Connection]", **options: Any) -> None:
        super().__init__(
            handler,
            data_size_limit=LARGEST_NOTICE_BYTES,
            enable_SMTPUTF8=True,
            ident="Counterfoil bounces",
            timeout=_COMMAND_SECONDS,
            **options,
        )
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._opened) >= MOST_CONNECTIONS:
            turned_away = cast("asyncio.WriteTransport", transport)
            turned_away.write(b"421 4.3.2 Too many connections; come back later\r\n")
            turned_away.close()
            return
        self._opened.add(self)
        super().connection_made(transport)
        assert self._handler_coroutine is not None
        # A client that hangs up is no fault of ours: asyncio would log the error that ends the conversation.
        self._handler_coroutine.add_done_callback(lambda task: task.cancelled() or task.exception())

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._opened:
            self._opened.discard(self)
            super().connection_lost(error)

    def abort(self) -> "asyncio.Task[None]":
        """Hang up. Returns the conversation, which ends soon."""
        assert self._handler_coroutine is not None
        cast("asyncio.WriteTransport", self.transport).abort()
        return self._handler_coroutine

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """In place of aiosmtpd's, which keeps an object for each line: ten megabytes of empty ones fill 340."""
        assert self.envelope is not None
        recipients = self.envelope.rcpt_tos
        if arg or not recipients:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 No valid recipients")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        async with read_data(self._reader, LARGEST_NOTICE_BYTES, self.event_handler.turns) as content:
            if content is None:
                replies = ["552 5.3.4 The message is larger than announced"] * len(recipients)
            else:
                replies = [await self.event_handler.take(recipient, content) for recipient in recipients]
        self.envelope = self._create_envelope()
        # One for each recipient (RFC 2033 section 4.2).
        for reply in replies:
            await self.push(reply)


class _Handler:
    """aiosmtpd calls the methods `handle_…` by name. One handler serves all connections."""

    def __init__(self, bounce_domain: str, ingest_one: Callable[[bytes], Awaitable[str]]) -> None:
        self._ours = re.compile(rf"bounce\+[0-9a-f]{{32}}@{re.escape(bounce_domain)}", re.IGNORECASE)
        self._ingest = ingest_one
        self._throttle = LogThrottle(_SECONDS_BETWEEN_LINES)
        self.turns = asyncio.Semaphore(LARGE_AT_ONCE)

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's signature; it calls this for LHLO
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # RFC 2033 section 5 asks for it: commands are read line by line and answered in order.
        return [responses[0], "250-PIPELINING", *responses[1:]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's signature
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self._ours.fullmatch(address) is None:
            return "550 5.1.1 Only envelope senders of our mails take mail here"
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients; bring the others later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        """A fault of the protocol's own code. Its text stays here."""
        _log.error("lmtp_conversation_failed", exc_info=error)
        return "451 4.3.0 Internal fault; try again later"

    async def take(self, recipient: str, content: bytes) -> str:
        """Ingest the notice for one recipient, who tells which mail it is about, and return the reply."""
        raw = b"Delivered-To: " + recipient.encode() + b"\r\n" + content
        try:
            async with asyncio.timeout(_INGEST_SECONDS):
                return f"250 2.0.0 {await self._ingest(raw)}"
        except StillSending:
            return "451 4.2.0 The mail is still being sent; try again later"
        except UNAVAILABLE as error:
            if (left_out := self._throttle.admit("outage")) is not None:
                _log.warning("bounces_wait_for_database", error=describe(error), left_out=left_out)
            return "451 4.3.0 The database cannot be used now; try again later"
        except Exception as error:  # noqa: BLE001 - the mail server keeps the notice until this is repaired
            if (left_out := self._throttle.admit(type(error))) is not None:
                _log.error("bounce_not_ingested", exc_info=error, left_out=left_out)
            return "451 4.3.0 Internal fault; try again later"
