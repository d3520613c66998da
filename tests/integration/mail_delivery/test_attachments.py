"""Mails with attachments arrive byte for byte, a retry sends the same, and large bulk mails do not stop live ones."""

import asyncio
from email import message_from_bytes, policy
from typing import Any
from uuid import UUID

import pytest

from services.mail.delivery import attachments as sending
from services.mail.delivery.gateways.protocol import AboutToTransmit, BodySupplier, Envelope
from services.mail.delivery.smtp_outcomes import Verdict
from services.mail.intake.accept import Intake, accept
from services.mail.intake.from_settings import make_intake
from services.mail.intake.template_engine import Templates
from services.mail.operator_actions.erase import erase_address
from services.mail.settings import Settings
from shared.contract.mails import MailRequest
from shared.contract.principals import Principal
from shared.observability.spans import OFF
from tests.support.attachments import PNG, image, pdf, sent
from tests.support.databases import Clone
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.mails import attempt_rows, make_due, states
from tests.support.memory_gateway import MemoryGateway
from tests.support.mime_by_hand import leaves
from tests.support.scripted_smtp import scripted_smtp
from tests.support.stack import eventually

SHOP = Principal("shop", "key:shop", frozenset({"mails:send"}))


@pytest.fixture
def intake(mail_database: Clone) -> Intake:
    return make_intake(Settings(), mail_database.database, OFF, templates=Templates.load())


async def _accept(intake: Intake, *mails: dict[str, Any]) -> list[UUID]:
    plain = {"subject": "S", "text": ".T\n", "html": "<img src='cid:logo'>"}
    requests = [
        MailRequest.model_validate({"request_id": f"{number}", "to": {"email": f"{number}@x.example"}} | plain | mail)
        for number, mail in enumerate(mails)
    ]
    answers = await accept(intake, SHOP, requests)
    assert [answer.outcome for answer in answers] == ["accepted"] * len(mails)
    return [answer.mail["id"] for answer in answers if answer.mail]


async def test_a_pdf_of_five_megabytes_and_an_inline_image_arrive_byte_for_byte(
    mail_database: Clone, intake: Intake
) -> None:
    data = pdf(5_000_000)
    await _accept(intake, {"attachments": [sent(data, "Übersicht.pdf"), image()]})
    async with scripted_smtp() as server:
        rig = make_rig(mail_database.database.pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    (received,) = server.accepted
    message = message_from_bytes(received.data, policy=policy.default)
    assert not any(part.defects for part in message.walk())
    by_email = {part.get_filename(): part.get_payload(decode=True) for part in message.walk() if part.get_filename()}
    by_hand = {leaf.filename: leaf.data for leaf in leaves(received.data) if "content-disposition" in leaf.headers}
    assert by_email == by_hand == {"Übersicht.pdf": data, "logo.png": PNG}
    assert received.data.isascii()


async def test_a_retry_sends_the_same_bytes(mail_database: Clone, intake: Intake) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await _accept(intake, {"attachments": [sent(pdf()), image()]})
    async with scripted_smtp({"dot": ["451 later"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await make_due(pool, mail_id)
        await rig.deliver()
        await rig.close()
    first, second = server.received
    assert (first.accepted, second.accepted) == (False, True)
    assert first.data == second.data


class Held(MemoryGateway):
    """Takes the message, and answers when `go` is set."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go = asyncio.Event()
        self.sizes: list[int] = []

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        message = body()
        self.sizes.append(len(message))
        if len(message) > 10_000:
            await self.go.wait()
        return await super().send(envelope, lambda: message, about_to_transmit)


async def test_large_bulk_mails_do_not_stop_live_ones(
    mail_database: Clone, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_BULK_BYTES", 25_000)
    database = mail_database.database
    gateway = Held(connections=2)
    rig = make_rig(database.pool, [gateway])
    slots = rig.delivery._slots
    large = {"lane": "bulk", "attachments": [sent(pdf(20_000))]}
    bulk = [{"request_id": f"bulk-{number}"} | large for number in range(slots * 3)]
    await _accept(intake, *bulk)
    for _ in range(10):
        await rig.delivery.run_once()
        await asyncio.sleep(0.02)
    assert len(gateway.sizes) == 1, "one fits"
    assert rig.delivery.in_flight < 2 * slots
    await _accept(intake, *({"request_id": f"live-{number}", "html": None} for number in range(slots + 5)))

    async def live_sent() -> int:
        await rig.delivery.run_once()
        count: int = await database.pool.fetchval("SELECT count(*) FROM mails WHERE lane = 'live' AND state = 'sent'")
        return count

    await eventually(live_sent, lambda count: count == slots + 5)
    assert len([size for size in gateway.sizes if size > 10_000]) == 1
    gateway.go.set()
    await rig.deliver()
    await rig.close()
    assert await states(database) == {"sent": slots * 4 + 5}


async def test_a_mail_that_was_erased_after_its_claim_is_not_sent_without_its_attachments(
    mail_database: Clone, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_LIVE_BYTES", 25_000)
    database = mail_database.database
    gateway = Held(connections=2)
    rig = make_rig(database.pool, [gateway])
    first, second = await _accept(intake, *[{"attachments": [sent(pdf(20_000))]}] * 2)
    await rig.delivery.run_once()
    await eventually(lambda: asyncio.sleep(0, gateway.sizes), lambda sizes: len(sizes) == 1)
    operator = Principal("shop", "key:shop", frozenset({"mails:operate"}))
    sent_first = await database.pool.fetchval("SELECT mail_id FROM attempts") or first
    waiting = second if sent_first == first else first
    email = await database.pool.fetchval("SELECT to_email FROM mails WHERE id = $1", waiting)
    assert await erase_address(database, operator, email) == 1
    gateway.go.set()
    await rig.deliver()
    await rig.close()
    assert len(gateway.sizes) == 1
    assert await states(database) == {"sent": 1, "canceled": 1}
    assert await attempt_rows(database.pool, waiting) == []


async def test_a_drain_gives_back_the_mails_that_wait_for_room(
    mail_database: Clone, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_LIVE_BYTES", 25_000)
    database = mail_database.database
    gateway = Held(connections=2)
    rig = make_rig(database.pool, [gateway])
    await _accept(intake, *[{"attachments": [sent(pdf(20_000))]}] * 3)
    await rig.delivery.run_once()
    await eventually(lambda: asyncio.sleep(0, gateway.sizes), lambda sizes: len(sizes) == 1)
    await rig.delivery.drain(0)
    await rig.close()
    assert await states(database) == {"queued": 3}
    assert await database.pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NULL AND due_at <= now()") == 3
