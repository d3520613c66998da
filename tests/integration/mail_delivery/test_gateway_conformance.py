"""What every gateway must do. The SMTP gateway and the memory gateway pass the same tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import pytest

from services.mail.delivery.deduplication import Deduplication
from services.mail.delivery.gateways.protocol import Envelope, Gateway
from services.mail.delivery.smtp_outcomes import Outcome, Step
from tests.support.delivery import IDEMPOTENCY_HEADER, smtp_gateway
from tests.support.memory_gateway import ACCEPTED, Answer, MemoryGateway
from tests.support.scripted_smtp import Misbehavior, scripted_smtp

ENVELOPE = Envelope("from@example.test", "to@example.test")
BODY = b"Subject: x\r\n\r\n.dotted\r\n..\r\nend\r\n"


@dataclass
class Subject:
    """A gateway, and the mails that its other side received."""

    gateway: Gateway
    received: Callable[[], list[tuple[str, str, bytes]]]
    asks: int = 0
    agrees: bool = True

    async def about_to_transmit(self) -> bool:
        self.asks += 1
        return self.agrees


@asynccontextmanager
async def memory(answer: Answer, *, deduplicates: bool = False) -> AsyncIterator[Subject]:
    deduplication = Deduplication(IDEMPOTENCY_HEADER, 40.0) if deduplicates else None
    gateway = MemoryGateway(answer=lambda _: answer, deduplication=deduplication)
    yield Subject(gateway, lambda: [(e.sender, e.recipient, body) for e, body in gateway.kept])


@asynccontextmanager
async def smtp(answer: Answer, *, deduplicates: bool = False) -> AsyncIterator[Subject]:
    step, code, text = answer
    place = {Step.CONNECT: "banner", Step.BODY: "dot"}.get(step, str(step))
    async with scripted_smtp({place: f"{code} {text}" if code else Misbehavior.DROP}) as server:
        gateway = smtp_gateway(server.port, idempotency_seconds=60.0 if deduplicates else None)
        yield Subject(gateway, lambda: [(m.sender, m.recipient, m.data) for m in server.accepted])
        await gateway.close()


class Connect(Protocol):
    def __call__(self, answer: Answer, *, deduplicates: bool = False) -> AbstractAsyncContextManager[Subject]: ...


@pytest.fixture(params=[memory, smtp], ids=["memory", "smtp"])
def connect(request: pytest.FixtureRequest) -> Connect:
    return request.param  # type: ignore[no-any-return]


async def test_an_accepted_mail_arrives_unchanged(connect: Connect) -> None:
    async with connect(ACCEPTED) as subject:
        verdict = await subject.gateway.send(ENVELOPE, lambda: BODY, subject.about_to_transmit)
        assert (verdict.outcome, verdict.code) == (Outcome.ACCEPTED, 250)
        assert subject.received() == [("from@example.test", "to@example.test", BODY)]
        assert subject.asks == 1


async def test_a_gateway_that_deduplicates_gets_the_same_key_before_the_mail_at_every_attempt(connect: Connect) -> None:
    envelope = replace(ENVELOPE, mail_id=UUID(int=7), idempotency_key="a-key")
    async with connect(ACCEPTED, deduplicates=True) as subject:
        # A wait for the reply takes 20 s of the 60 s that it knows a key.
        assert subject.gateway.deduplication == Deduplication(IDEMPOTENCY_HEADER, 40.0)
        for _ in range(2):
            await subject.gateway.send(envelope, lambda: BODY, subject.about_to_transmit)
        assert [body for _, _, body in subject.received()] == [f"{IDEMPOTENCY_HEADER}: a-key\r\n".encode() + BODY] * 2


async def test_a_gateway_that_does_not_deduplicate_gets_no_key(connect: Connect) -> None:
    envelope = replace(ENVELOPE, mail_id=UUID(int=7), idempotency_key="a-key")
    async with connect(ACCEPTED) as subject:
        assert subject.gateway.deduplication is None
        await subject.gateway.send(envelope, lambda: BODY, subject.about_to_transmit)
        assert [body for _, _, body in subject.received()] == [BODY]


async def test_not_a_byte_leaves_unless_the_caller_agrees(connect: Connect) -> None:
    async with connect(ACCEPTED) as subject:
        subject.agrees = False
        verdict = await subject.gateway.send(ENVELOPE, lambda: BODY, subject.about_to_transmit)
        assert (verdict.outcome, verdict.blames_gateway) == (Outcome.GATEWAY_FAULT, False)
        assert subject.received() == []


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA])
async def test_a_refusal_before_the_body_never_asks_to_transmit(step: Step, connect: Connect) -> None:
    async with connect((step, 550, "5.7.1 no")) as subject:
        verdict = await subject.gateway.send(ENVELOPE, lambda: BODY, subject.about_to_transmit)
        assert (verdict.outcome, verdict.code, verdict.enhanced_code) == (Outcome.REFUSED, 550, "5.7.1")
        assert subject.asks == 0


@pytest.mark.parametrize(
    ("step", "outcome"),
    [(Step.CONNECT, Outcome.GATEWAY_FAULT), (Step.RCPT, Outcome.GATEWAY_FAULT), (Step.BODY, Outcome.UNKNOWN)],
)
async def test_a_drop_is_a_verdict_too(step: Step, outcome: Outcome, connect: Connect) -> None:
    async with connect((step, 0, "")) as subject:
        verdict = await subject.gateway.send(ENVELOPE, lambda: BODY, subject.about_to_transmit)
        assert verdict.outcome is outcome
        assert subject.received() == []


async def test_the_caller_gets_the_error_of_a_body_that_cannot_be_built(connect: Connect) -> None:
    def broken() -> bytes:
        raise ValueError("no such header")

    async with connect(ACCEPTED) as subject:
        with pytest.raises(ValueError, match="no such header"):
            await subject.gateway.send(ENVELOPE, broken, subject.about_to_transmit)
        assert subject.received() == []


async def test_closing_twice_is_fine(connect: Connect) -> None:
    async with connect(ACCEPTED) as subject:
        await subject.gateway.send(ENVELOPE, lambda: BODY, subject.about_to_transmit)
        await subject.gateway.close()
        await subject.gateway.close()
