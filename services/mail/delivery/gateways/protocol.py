"""What delivery expects of a gateway. Both kinds, SMTP and memory, pass one conformance test."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ..smtp_outcomes import Verdict

BodySupplier: TypeAlias = Callable[[], bytes]
# Awaited after the gateway asked for the body and before its first byte leaves. False: not a byte may leave.
AboutToTransmit: TypeAlias = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Envelope:
    """Addresses as they stand in MAIL and RCPT, with A-label domains."""

    sender: str
    recipient: str
    needs_smtputf8: bool = False


class Gateway(Protocol):
    name: str
    connections: int

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        """One attempt at one mail. Every trouble of the other side is a verdict.

        Raises:
            asyncio.CancelledError: and the connection is dropped; what has left has left.
            ValueError: from `body`; nothing has been said to the gateway.
        """
        ...

    async def close_idle(self) -> None:
        """Called every few seconds: let go of what has been idle for long."""
        ...

    async def close(self) -> None: ...
