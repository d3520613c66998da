"""The interface of a gateway. Both implementations, SMTP and memory, pass one conformance test."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from ..deduplication import Deduplication
from ..smtp_outcomes import Verdict

BodySupplier: TypeAlias = Callable[[], bytes]
# Awaited after the gateway asked for the body and before its first byte leaves. False: no byte may leave.
AboutToTransmit: TypeAlias = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Envelope:
    """Addresses for MAIL and RCPT, with A-label domains, and the mail that they are for."""

    sender: str
    recipient: str
    needs_smtputf8: bool = False
    mail_id: UUID | None = None
    # For gateways that deduplicate; None: the mail brings a header of this name itself.
    idempotency_key: str | None = None


class Gateway(Protocol):
    name: str
    connections: int
    # None: a mail that is handed over twice is sent twice.
    deduplication: Deduplication | None

    @property
    def connections_open(self) -> int:
        """Connections that were let in and are not known to have ended."""
        ...

    async def settled_connections(self) -> int:
        """`connections_open`, once those that are being opened have been let in or turned away."""
        ...

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        """One attempt at one mail. Every failure on the gateway's side is a verdict.

        Raises:
            asyncio.CancelledError: the connection is dropped; bytes that left cannot be recalled.
            ValueError: from `body`; nothing has been sent to the gateway.
        """
        ...

    async def close_idle(self) -> None:
        """Called every few seconds: close connections that have been idle for long."""
        ...

    async def close(self) -> None: ...
