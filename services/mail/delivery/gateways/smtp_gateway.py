"""An SMTP smarthost as a gateway: pooled connections, a pace, and one verdict for each mail."""

import asyncio
import socket
import ssl

from ..smtp_outcomes import Verdict, own_fault
from .connect import open_connection
from .connection_pool import ConnectionPool
from .protocol import AboutToTransmit, BodySupplier, Envelope
from .rate_limit import GatewayRateLimit
from .settings import GatewaySettings, Tls
from .smtp_connection import ConversationEnded, SmtpConnection, Timeouts


class SmtpGateway:
    """`Gateway` over SMTP.

    `pace` is shared with other workers. `tls_context` is for private certificate authorities; the default one verifies.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        timeouts: Timeouts,
        ehlo_name: str = "",
        *,
        pace: GatewayRateLimit | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = settings.name
        self.connections = settings.connections
        self._settings = settings
        self._timeouts = timeouts
        self._ehlo_name = ehlo_name
        self._tls_context = tls_context
        self._pool = ConnectionPool(self._open)
        self._pace = pace

    async def _open(self) -> SmtpConnection:
        # Each of these reads files or asks DNS, so it is done once and not in the loop's own thread.
        if not self._ehlo_name:
            self._ehlo_name = await asyncio.to_thread(socket.getfqdn)
        if self._tls_context is None and self._settings.tls is not Tls.NONE:
            self._tls_context = await asyncio.to_thread(ssl.create_default_context)
        return await open_connection(self._settings, self._timeouts, self._ehlo_name, self._tls_context)

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        """See `Gateway.send`."""
        if self._settings.sender is not None:
            envelope = Envelope(self._settings.sender, envelope.recipient, envelope.needs_smtputf8)
        if self._pace is not None and not await self._pace.wait():
            return own_fault("nothing sent: the gateway's rate could not be reserved")
        try:
            text = body()
            connection = await self._pool.acquire()
            verdict = await self._transact(connection, envelope, text, about_to_transmit)
            if connection.was_stale:
                # Closed between two mails, or after as many as that gateway takes on one: ask anew before judging.
                connection = await self._pool.acquire(fresh=True)
                verdict = await self._transact(connection, envelope, text, about_to_transmit)
        except ConversationEnded as ended:
            return ended.verdict
        return verdict

    async def _transact(
        self, connection: SmtpConnection, envelope: Envelope, text: bytes, about_to_transmit: AboutToTransmit
    ) -> Verdict:
        try:
            return await connection.transact(envelope, text, about_to_transmit)
        finally:
            self._pool.give_back(connection)

    async def close_idle(self) -> None:
        """See `Gateway.close_idle`."""
        await self._pool.close_idle()

    async def close(self) -> None:
        await self._pool.close()
