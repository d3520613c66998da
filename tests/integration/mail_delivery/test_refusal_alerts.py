"""Operators learn once of a gateway that refuses everyone, what is seen and what to do."""

import re

import orjson

from services.mail.audit.alerts import make_alert_loop
from services.mail.audit.queries import GATEWAY_RECIPIENTS
from services.mail.audit.refusal_symptoms import refusal_symptoms, refusals_in
from services.mail.delivery.recent_recipients import RecentRecipients
from services.mail.delivery.smtp_outcomes import Step, classify
from services.mail.intake.from_settings import make_intake
from services.mail.settings import Settings
from shared.audit.alert_loop import AlertLoop
from shared.db.pool import Pool
from tests.support.databases import Clone
from tests.support.delivery import Rig, make_rig
from tests.support.mails import insert_mails
from tests.support.memory_gateway import ACCEPTED, MemoryGateway
from tests.support.scripted_smtp import scripted_smtp

_HEARTBEAT = """
INSERT INTO heartbeats (process, detail) VALUES ('mail-worker', $1::text::jsonb)
ON CONFLICT (process) DO UPDATE SET at = now(), detail = excluded.detail
"""
REFUSED, TAKEN = classify(Step.RCPT, 550, "5.1.1 no such user"), classify(*ACCEPTED)


def alert_loop(database: Clone, smtp_port: int) -> AlertLoop:
    settings = Settings(alert_email="ops@x.example", alert_smtp_url=f"smtp://127.0.0.1:{smtp_port}")
    return make_alert_loop(settings, make_intake(settings, database.database), runs_checks=False)


async def alerts(pool: Pool) -> list[tuple[str, str, bool]]:
    """Those about gateways. No sanity check runs here, so there are others."""
    rows = await pool.fetch(
        "SELECT name, severity, closed_at IS NULL AS open FROM alerts WHERE name LIKE 'gateway%' ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def beat(pool: Pool, rig: Rig) -> None:
    await pool.execute(_HEARTBEAT, orjson.dumps({"gateways": [rig.gateways.routes[0].describe()]}).decode())


async def hear(worker: RecentRecipients, *, refused: int = 0, accepted: int = 0, domain: str = "") -> None:
    for n in range(refused):
        await worker.judge("g", f"r{n}@{domain or f'domain-{n}.example'}", REFUSED)
    for n in range(accepted):
        await worker.judge("g", f"a{n}@good-{n}.example", TAKEN)
    await worker.run_once()


async def test_one_red_alert_opens_while_a_gateway_refuses_everyone_and_closes_after_an_acceptance(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 100)
    mad = True
    rig = make_rig(
        pool, [MemoryGateway("g", answer=lambda _envelope: (Step.RCPT, 550, "5.1.1 no such user") if mad else ACCEPTED)]
    )
    await rig.deliver()
    await beat(pool, rig)
    async with scripted_smtp() as operators:
        loops = [alert_loop(mail_database, operators.port) for _ in range(2)]
        for _ in range(3):
            for loop in loops:
                await loop.run_once()
        assert await alerts(pool) == [("gateway_refuses_everyone", "red", True)]
        mad = False
        rig.gateways.routes[0].breaker._probe_at = 0.0
        await rig.deliver()
        await rig.recent_recipients.run_once()
        await beat(pool, rig)
        await pool.execute("UPDATE alerts SET seen_at = seen_at - interval '1 hour'")
        await loops[0].run_once()
        assert await alerts(pool) == [("gateway_refuses_everyone", "red", False)]
    # Directly: through the mail service it would wait for the gateway. That it is over goes through the mail service.
    mailed = [mail for mail in operators.accepted if b"find out why g refuses every recipient" in mail.data]
    assert len(mailed) == 1
    over = "SELECT count(*) FROM mails WHERE client = 'mail-alerts' AND state = 'queued'"
    assert await pool.fetchval(over) == 1


async def test_the_alert_names_the_time_since_when_and_the_commands_that_undo_it(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await hear(RecentRecipients(pool), accepted=20)
    await hear(RecentRecipients(pool), refused=20)
    refusals = refusals_in(await pool.fetch(GATEWAY_RECIPIENTS))
    (symptom,) = refusal_symptoms(refusals)
    since = await pool.fetchval("SELECT min(at) FROM gateway_recipients WHERE refused")
    assert refusals.everyone == {"g": since}
    after = re.findall(r"--after (\S+)", symptom.facts)
    assert after == [since.strftime("%Y-%m-%dT%H:%M:00Z")] * 2


async def test_a_domain_that_is_refused_as_a_whole_is_a_warning_that_names_it(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    worker = RecentRecipients(pool)
    await hear(worker, accepted=20)
    await hear(worker, refused=30, domain="gone.example")
    async with scripted_smtp() as operators:
        await alert_loop(mail_database, operators.port).run_once()
    assert await alerts(pool) == [("gateway_refuses_domain", "warning", True)]
    subject = await pool.fetchval("SELECT subject FROM alerts WHERE name = 'gateway_refuses_domain'")
    assert subject == "find out why every recipient is refused at gone.example (g)"


async def test_dead_addresses_among_good_ones_are_no_alert(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    worker = RecentRecipients(pool)
    for _ in range(5):
        await hear(worker, accepted=20)
        await hear(worker, refused=3)
    async with scripted_smtp() as operators:
        await alert_loop(mail_database, operators.port).run_once()
    assert await alerts(pool) == []
