"""A gateway that keeps mails in memory, for tests without a mail server."""

import asyncio
from collections.abc import Callable

from services.mail.delivery.deduplication import Deduplication, header_line
from services.mail.delivery.gateways.protocol import AboutToTransmit, BodySupplier, Envelope
from services.mail.delivery.smtp_outcomes import Outcome, Step, Verdict, classify, interrupted, own_fault

Answer = tuple[Step, int, str]
ACCEPTED: Answer = (Step.BODY, 250, "2.0.0 kept")


def _accept(_envelope: Envelope) -> Answer:
    return ACCEPTED


class MemoryGateway:
    """`Gateway` without a network. `answer` is the final step and reply; code 0 drops the connection at that step."""

    def __init__(
        self,
        name: str = "memory",
        *,
        connections: int = 8,
        answer: Callable[[Envelope], Answer] = _accept,
        deduplication: Deduplication | None = None,
    ) -> None:
        self.name = name
        self.deduplication = deduplication
        self.connections = connections
        self.kept: list[tuple[Envelope, bytes]] = []
        self._answer = answer

    @property
    def connections_open(self) -> int:
        """See `Gateway.connections_open`: there are none."""
        return 0

    async def settled_connections(self) -> int:
        """See `Gateway.settled_connections`."""
        return 0

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        """See `Gateway.send`."""
        step, code, text = self._answer(envelope)
        content = body()
        if self.deduplication is not None and envelope.idempotency_key is not None:
            line = header_line(self.deduplication.header, envelope.idempotency_key)
            content = line.encode() + b"\r\n" + content
        await asyncio.sleep(0)
        if step is Step.BODY and not await about_to_transmit():
            return own_fault("nothing sent: the transmission could not be recorded")
        verdict = classify(step, code, text) if code else interrupted(step, "connection lost")
        if verdict.outcome is Outcome.ACCEPTED:
            self.kept.append((envelope, content))
        return verdict

    async def close_idle(self) -> None:
        """No connection is ever idle."""

    async def close(self) -> None:
        """Kept mails stay readable."""
