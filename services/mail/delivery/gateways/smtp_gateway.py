"""An SMTP smarthost as a gateway: pooled connections, a rate limit, and one verdict per mail."""

import asyncio
import ssl
from dataclasses import replace

from ..deduplication import Deduplication
from ..smtp_outcomes import Verdict, own_fault
from .connect import open_connection
from .connection_pool import ConnectionPool
from .protocol import AboutToTransmit, BodySupplier, Envelope
from .rate_limit import GatewayRateLimit
from .settings import GatewaySettings, Tls, tls_context
from .smtp_connection import ConversationEnded, SmtpConnection, Timeouts
from .transport_headers import transport_headers


class SmtpGateway:
    """`Gateway` over SMTP.

    `rate_limit` is shared with other workers. `tls_context` replaces the one that verifies by the settings' CA file.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        timeouts: Timeouts,
        ehlo_name: str,
        *,
        rate_limit: GatewayRateLimit | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = settings.name
        self.connections = settings.connections
        self.deduplication: Deduplication | None = None
        if settings.idempotency_header is not None and settings.idempotency_seconds is not None:
            ask_seconds = settings.idempotency_seconds - timeouts.reply_seconds
            self.deduplication = Deduplication(settings.idempotency_header, ask_seconds)
        self._settings = settings
        self._timeouts = timeouts
        self._ehlo_name = ehlo_name
        self._tls_context = tls_context
        self._pool = ConnectionPool(self._open)
        self._rate_limit = rate_limit

    @property
    def connections_open(self) -> int:
        """See `Gateway.connections_open`."""
        return self._pool.open_count

    async def settled_connections(self) -> int:
        """See `Gateway.settled_connections`."""
        return await self._pool.settled_count()

    async def _open(self) -> SmtpConnection:
        # It reads files, so it runs once and outside the event loop's thread.
        if self._tls_context is None and self._settings.tls is not Tls.NONE:
            self._tls_context = await asyncio.to_thread(tls_context, self._settings)
        return await open_connection(self._settings, self._timeouts, self._ehlo_name, self._tls_context)

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        """See `Gateway.send`."""
        if self._settings.sender is not None:
            envelope = replace(envelope, sender=self._settings.sender)
        if self._rate_limit is not None and not await self._rate_limit.wait():
            return own_fault("nothing sent: the gateway's rate could not be reserved")
        try:
            message = self._with_transport_headers(body(), envelope)
            connection = await self._pool.acquire()
            verdict = await self._transact(connection, envelope, message, about_to_transmit)
            if connection.was_stale:
                # The gateway closed it between two mails, or at its own limit of mails: try a new one first.
                connection = await self._pool.acquire(fresh=True)
                verdict = await self._transact(connection, envelope, message, about_to_transmit)
        except ConversationEnded as ended:
            return ended.verdict
        return verdict

    def _with_transport_headers(self, message: bytes, envelope: Envelope) -> bytes:
        if envelope.mail_id is None:
            return message
        headers = transport_headers(self._settings, envelope.mail_id, envelope.idempotency_key, message=message)
        return headers + message if headers else message

    async def _transact(
        self, connection: SmtpConnection, envelope: Envelope, message: bytes, about_to_transmit: AboutToTransmit
    ) -> Verdict:
        try:
            return await connection.transact(envelope, message, about_to_transmit)
        finally:
            self._pool.give_back(connection)

    async def close_idle(self) -> None:
        """See `Gateway.close_idle`."""
        await self._pool.close_idle()

    async def close(self) -> None:
        await self._pool.close()
