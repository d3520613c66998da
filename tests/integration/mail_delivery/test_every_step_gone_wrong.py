"""Each failure at each step of an SMTP conversation, and the record that it leaves (DESIGN section 6)."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.mail.delivery.claim import claim_due
from services.mail.delivery.gateways.failover import Gateways
from services.mail.delivery.gateways.protocol import AboutToTransmit, BodySupplier, Envelope
from services.mail.delivery.gateways.settings import Tls
from services.mail.delivery.gateways.smtp_connection import Timeouts
from services.mail.delivery.smtp_outcomes import Outcome, Verdict
from shared.worker.circuit_breaker import BreakerState
from tests.support.databases import Clone
from tests.support.delivery import IMPATIENT, PATIENT, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, history_kinds, insert_mails, mail_row, queue_row
from tests.support.memory_gateway import MemoryGateway
from tests.support.scripted_smtp import Act, Misbehavior, Slowly, scripted_smtp

FAULT, LATER, REFUSED = Outcome.GATEWAY_FAULT, Outcome.TRY_LATER, Outcome.REFUSED
UNKNOWN, ACCEPTED = Outcome.UNKNOWN, Outcome.ACCEPTED
STATE = {FAULT: "queued", LATER: "deferred", REFUSED: "failed", UNKNOWN: "uncertain", ACCEPTED: "sent"}
# Where the gateway deduplicates, it is asked again.
STATE_ASKED_AGAIN = STATE | {UNKNOWN: "deferred"}
KIND = {
    FAULT: "mail.requeued",
    LATER: "mail.deferred",
    REFUSED: "mail.failed",
    UNKNOWN: "mail.uncertain",
    ACCEPTED: "mail.sent",
}

_SILENT: list[Act] = [Misbehavior.DROP, Misbehavior.HANG, Misbehavior.GARBAGE]
BEFORE_THE_MAIL: list[tuple[Act, Outcome]] = [
    *((act, FAULT) for act in ["421 4.3.2 closing", "450 4.7.1 busy", "554 5.7.1 go away", *_SILENT])
]
ABOUT_THE_MAIL: list[tuple[Act, Outcome]] = [
    ("421 4.3.2 closing", FAULT),
    ("450 4.2.1 later", LATER),
    ("550 5.7.1 policy", REFUSED),
    (Slowly("451 4.3.0 slow\n451 but sure"), LATER),
    *((act, FAULT) for act in _SILENT),
]
TABLE: dict[str, Sequence[tuple[Act, Outcome]]] = {
    "banner": BEFORE_THE_MAIL,
    "EHLO": BEFORE_THE_MAIL,
    "STARTTLS": BEFORE_THE_MAIL,
    "AUTH": [*BEFORE_THE_MAIL, ("535 5.7.8 wrong password", FAULT)],
    "MAIL": [*ABOUT_THE_MAIL, ("354 what", FAULT), ("530 5.7.0 log in first", FAULT)],
    "RCPT": [*ABOUT_THE_MAIL, ("251 will forward", ACCEPTED), (Slowly("250 ok"), ACCEPTED)],
    "DATA": [*ABOUT_THE_MAIL, ("250 what", FAULT), (Slowly("354 well\n354 go on"), ACCEPTED)],
    "body": [(Misbehavior.DROP, UNKNOWN)],
    "dot": [
        ("421 4.3.2 closing", LATER),
        ("451 4.3.0 later", LATER),
        ("554 5.6.0 spam", REFUSED),
        (Slowly("250 2.0.0 taken"), ACCEPTED),
        ("354 what", UNKNOWN),
        *((act, UNKNOWN) for act in _SILENT),
    ],
    "RSET": [(act, ACCEPTED) for act in ["421 4.3.2 closing", "550 no", *_SILENT]],
    "QUIT": [(act, ACCEPTED) for act in ["421 4.3.2 closing", *_SILENT]],
}
# Extensions that a server must offer for the conversation to reach the step.
OFFERED = {"STARTTLS": ("STARTTLS",), "AUTH": ("AUTH PLAIN",)}


def _timeouts(act: Act) -> Timeouts:
    return IMPATIENT if act is Misbehavior.HANG else PATIENT


def _breaker_counted_a_fault(gateways: Gateways) -> bool:
    breaker = gateways.routes[0].breaker
    assert breaker.state is BreakerState.CLOSED  # one fault opens nothing
    return breaker.last_fault is not None


@pytest.mark.promise("P5")
@pytest.mark.parametrize("pipelining", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("step", TABLE)
async def test_each_step_gone_wrong_leaves_the_right_record(
    step: str, pipelining: tuple[str, ...], mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    for act, outcome in TABLE[step]:
        async with scripted_smtp({step: [act]}, extensions=(*OFFERED.get(step, ("SMTPUTF8",)), *pipelining)) as server:
            tls = Tls.STARTTLS if step == "STARTTLS" else Tls.NONE
            gateway = smtp_gateway(server.port, timeouts=_timeouts(act), tls=tls, login=step == "AUTH")
            rig = make_rig(pool, [gateway])
            (mail_id,) = await insert_mails(pool)
            await rig.delivery.run_once()
            await rig.finish()
            await rig.close()

        mail, (attempt,) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
        case = f"{act} at {step}"
        assert (mail["state"], attempt["outcome"]) == (STATE[outcome], outcome), case
        assert mail["attempts"] == (0 if outcome is FAULT else 1), case
        assert attempt["counted"] == (outcome is not FAULT), case
        assert attempt["phase"] == "ended", case
        assert (attempt["transmitting_at"] is not None) == (step in {"body", "dot"} or outcome is ACCEPTED), case
        assert _breaker_counted_a_fault(rig.gateways) == (outcome in {FAULT, UNKNOWN}), case
        assert await history_kinds(pool, mail_id) == [KIND[outcome]], case
        assert (await queue_row(pool, mail_id) is not None) == (outcome in {FAULT, LATER}), case
        await pool.execute("DELETE FROM queue")


@pytest.mark.parametrize("step", [step for step, cases in TABLE.items() if UNKNOWN in dict(cases).values()])
async def test_each_unknown_outcome_is_asked_again_where_the_gateway_deduplicates(
    step: str, mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    for act, outcome in TABLE[step]:
        async with scripted_smtp({step: [act]}) as server:
            rig = make_rig(pool, [smtp_gateway(server.port, timeouts=_timeouts(act), idempotency_seconds=60)])
            (mail_id,) = await insert_mails(pool)
            await rig.delivery.run_once()
            await rig.finish()
            await rig.close()
        mail, (attempt,) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
        case = f"{act} at {step}"
        assert (mail["state"], attempt["outcome"]) == (STATE_ASKED_AGAIN[outcome], outcome), case
        assert (await queue_row(pool, mail_id) is not None) == (outcome in {LATER, UNKNOWN}), case
        await pool.execute("DELETE FROM queue")


async def test_the_gateways_reply_is_stored_in_full(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"RCPT": ["550 5.7.1 first line\n550 5.7.1 second line"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    (attempt,), mail = await attempt_rows(pool, mail_id), await mail_row(pool, mail_id)
    assert (attempt["code"], attempt["enhanced_code"], attempt["gateway"]) == (550, "5.7.1", "scripted")
    assert attempt["reply"] == "550 5.7.1 first line\n5.7.1 second line"
    assert (mail["failure_code"], mail["failure_enhanced_code"]) == (550, "5.7.1")
    assert mail["failure_reply"] == attempt["reply"]
    assert mail["gateway"] == "scripted"


async def test_history_holds_codes_and_ids_but_neither_replies_nor_addresses(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    metadata = {"user_id": "u-7", "color": "blue"}
    (mail_id,) = await insert_mails(pool, to="asa@example.test", metadata=metadata)
    async with scripted_smtp({"RCPT": ["550 5.1.1 <asa@example.test> is unknown"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    row = await pool.fetchrow("SELECT *, detail::text AS text FROM history")
    assert row is not None
    assert (row["subject"], row["actor"]) == (str(mail_id), "mail-worker")
    assert set(row["related"]) == {str(mail_id), "tests", "u-7"}
    assert '"code": 550' in row["text"]
    assert '"enhanced_code": "5.1.1"' in row["text"]
    assert "asa" not in row["text"]


async def test_a_dead_mailbox_is_suppressed_and_the_next_mail_to_it_is_not_sent(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (first,) = await insert_mails(pool, to="Gone@example.test")
    async with scripted_smtp({"RCPT": ["550 5.1.1 no such user"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        (second,) = await insert_mails(pool, to="gone@example.test")
        await rig.deliver()
        await rig.close()
    suppression = await pool.fetchrow("SELECT * FROM suppressions")
    assert suppression is not None
    assert (suppression["email_key"], suppression["source"], suppression["mail_id"]) == (
        "gone@example.test",
        "smtp",
        first,
    )
    assert (await mail_row(pool, second))["state"] == "suppressed"
    assert await queue_row(pool, second) is None
    assert await history_kinds(pool, second) == ["mail.suppressed"]
    assert not server.received


async def test_a_policy_refusal_suppresses_no_address(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool)
    async with scripted_smtp({"dot": ["554 5.7.1 looks like spam"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    assert await pool.fetchval("SELECT count(*) FROM suppressions") == 0


async def test_a_retry_sends_the_same_bytes(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, html="<p>Hello</p>")
    async with scripted_smtp({"dot": ["451 4.3.0 later"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await pool.execute("UPDATE queue SET due_at = now() WHERE mail_id = $1", mail_id)
        await rig.deliver()
        await rig.close()
    first, second = server.received
    assert first.data == second.data
    assert b"\r\n.a line that begins with a dot\r\n" in second.data
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    assert [row["outcome"] for row in await attempt_rows(pool, mail_id)] == ["try_later", "accepted"]


async def test_a_resend_policy_queues_the_mail_again_after_an_unknown_end(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, on_uncertain="resend")
    async with scripted_smtp({"dot": [Misbehavior.DROP, "550 5.1.1 gone meanwhile"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        assert (await mail_row(pool, mail_id))["state"] == "queued"
        await pool.execute("UPDATE queue SET due_at = now()")
        await rig.deliver()
        await rig.close()
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["attempts"]) == ("uncertain", 2)  # refused now, but the first may have arrived
    assert server.received[0].data == server.received[1].data


async def test_an_address_that_needs_smtputf8_fails_where_it_is_not_offered(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, to="åsa@example.test")
    async with scripted_smtp(extensions=()) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    mail = await mail_row(pool, mail_id)
    assert mail["state"] == "failed"
    assert "SMTPUTF8" in mail["failure_reason"]
    assert not any(command.startswith("MAIL") for command in server.commands)


async def test_smtputf8_is_asked_for_only_when_an_address_needs_it(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, to="åsa@example.test")
    await insert_mails(pool, to="asa@bücher.example")
    async with scripted_smtp() as server:
        rig = make_rig(pool, [smtp_gateway(server.port, connections=1)])
        await rig.deliver()
        await rig.close()
    mails = sorted(command for command in server.commands if command.startswith("MAIL"))
    assert [command.endswith("SMTPUTF8") for command in mails] == [False, True]
    assert {mail.recipient for mail in server.accepted} == {"åsa@example.test", "asa@xn--bcher-kva.example"}


async def test_a_mail_that_cannot_be_built_fails_and_only_its_client_sees_the_reason(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await mail_database.as_owner('UPDATE contents SET headers = \'{"X-Bad\\r\\nBcc": "asa@example.test"}\'')
    async with scripted_smtp() as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["failure_reason"]) == ("failed", "the message cannot be built")
    assert mail["failure_reply"]
    assert not any(command.startswith("MAIL") for command in server.commands)


async def test_no_byte_leaves_when_the_mail_expires_before_the_gateway_is_ready(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    gateway = MemoryGateway()
    rig = make_rig(pool, [gateway])
    (mail,) = (await claim_due(pool, 10, 30)).mails
    # It was claimed long ago, and has waited for a connection since.
    rig.delivery._start(replace(mail, claimed_monotonic=mail.claimed_monotonic - 30 * 86_400))
    await rig.finish()
    await mail_database.as_owner("UPDATE mails SET expires_at = now()")
    await mail_database.as_owner("UPDATE queue SET due_at = now()")
    await rig.deliver()
    await rig.close()
    assert not gateway.kept
    assert (await mail_row(pool, mail_id))["state"] == "expired"


class Faulty(MemoryGateway):
    """Has a fault of its own, before or after the body has left."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after = after

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        del envelope, body
        if self.after:
            assert await about_to_transmit()
        raise ValueError("a fault of the code")


@pytest.mark.parametrize(("after", "state"), [(False, "queued"), (True, "uncertain")])
async def test_a_fault_of_the_code_does_not_fail_a_mail(mail_database: Clone, after: bool, state: str) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [Faulty(after=after)])
    await rig.delivery.run_once()
    await rig.finish()
    await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == state
