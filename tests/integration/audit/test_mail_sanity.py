"""The mail service's sanity checks: silent on a consistent ledger, and each finds its fault."""

import asyncio

import pytest

from services.mail.audit.alerts import alert_catalog
from services.mail.audit.sanity_checks import CHECKS
from services.mail.delivery.retry_policy import RetryPolicy
from services.mail.settings import Settings
from shared.audit.sanity_checks import Checks
from tests.support.apis import Api
from tests.support.bad_data import findings, plant
from tests.support.databases import Clone
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.scripted_smtp import Script, scripted_smtp

from .conftest import MAIL_SCOPES

# The first mails are deferred, refused, dropped before and after the body; the rest succeed.
TROUBLE: Script = {
    "RCPT": ["450 4.2.1 later", "550 5.1.1 unknown", None, "550 5.7.1 policy"],
    "dot": ["451 4.3.0 later", "354 what", None],
}
OLDEST = "(SELECT id FROM mails WHERE state = '{}' ORDER BY id LIMIT 1)"
SENT, FAILED, DEFERRED = OLDEST.format("sent"), OLDEST.format("failed"), OLDEST.format("deferred")
LONG_AGO = "now() - interval '1 hour'"
PLANTED = {
    "state_against_history": f"""
        UPDATE mails SET state = 'failed', sent_at = NULL, failure_reason = 'no' WHERE id = {SENT}
    """,
    "stray_in_queue": f"INSERT INTO queue (mail_id, lane, due_at) SELECT {FAILED}, 'live', now() + interval '1 day'",
    "missing_in_queue": f"DELETE FROM queue WHERE mail_id = {DEFERRED}",
    "lease_long_past": f"UPDATE queue SET lease = uuidv7(), due_at = {LONG_AGO} WHERE mail_id = {DEFERRED}",
    "sent_without_acceptance": f"DELETE FROM attempts WHERE mail_id = {SENT}",
    "accepted_twice": f"""
        INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, transmitting_at, ended_at)
        VALUES ({SENT}, 9, uuidv7(), 'ended', 'accepted', false, now(), now())
    """,
    "attempts_miscounted": f"UPDATE mails SET attempts = attempts + 1 WHERE id = {SENT}",
    "uncertain_for_a_day": "UPDATE attempts SET ended_at = now() - interval '2 days' WHERE outcome = 'unknown'",
    "expired_and_waiting": f"""
        WITH due AS (UPDATE queue SET due_at = {LONG_AGO} WHERE mail_id = {DEFERRED})
        UPDATE mails SET expires_at = {LONG_AGO} WHERE id = {DEFERRED}
    """,
    "content_missing": f"DELETE FROM contents WHERE mail_id = {DEFERRED}",
    "suppressed_and_waiting": f"""
        WITH due AS (UPDATE queue SET due_at = {LONG_AGO} WHERE mail_id = {DEFERRED})
        INSERT INTO suppressions (email_key, email, reason, source, created_at)
        SELECT to_key, to_email, 'asked', 'test', {LONG_AGO} FROM mails WHERE id = {DEFERRED}
    """,
    "lost_mails": f"""
        WITH attempt AS (DELETE FROM attempts WHERE mail_id = {SENT}),
             content AS (DELETE FROM contents WHERE mail_id = {SENT})
        DELETE FROM mails WHERE id = {SENT}
    """,
    "partition_missing": """
        INSERT INTO history (at, kind, subject, actor) VALUES (now() + interval '2 years', 'test.planted', 's', 'test')
    """,
}
REPAIRED = {"stray_in_queue", "missing_in_queue", "attempts_miscounted"}
# Planted faults that more than one check must find.
ALSO = {"sent_without_acceptance": {"attempts_miscounted"}}


@pytest.fixture
def checks(mail_database: Clone) -> Checks:
    return alert_catalog(Settings()).checks_in(mail_database.database.pool)


async def run_mails(mail_api: Api) -> None:
    """Accept mails and bring them to every state; cancel, suppress and retry some."""
    async with await mail_api.as_client("shop", MAIL_SCOPES) as http, scripted_smtp(TROUBLE) as server:
        for n in range(12):
            mail = {"request_id": f"r{n}", "to": {"email": f"p{n}@x.example"}, "subject": "S", "text": "T"}
            assert (await http.post("/v1/mails", json=mail)).status_code == 202
        rig = make_rig(mail_api.database.pool, [smtp_gateway(server.port, connections=1)], policy=RetryPolicy(draw=max))
        await rig.deliver()
        await rig.close()
        failed = (await http.get("/v1/mails", params={"state": "failed"})).json()["items"]
        await http.put("/v1/suppressions/gone@x.example", json={"reason": "asked"})
        for request_id, to in (("late", "late@x.example"), ("gone", "gone@x.example")):
            await http.post(
                "/v1/mails", json={"request_id": request_id, "to": {"email": to}, "subject": "S", "text": "T"}
            )
        (late,) = (await http.get("/v1/mails", params={"request_id": "late"})).json()["items"]
        assert (await http.post(f"/v1/mails/{late['id']}/cancel")).status_code == 200
        assert (await http.post(f"/v1/mails/{failed[0]['id']}/retry")).status_code == 200


async def test_checks_are_silent_while_mails_reach_every_state(
    mail_database: Clone, mail_api: Api, checks: Checks
) -> None:
    done = asyncio.Event()

    async def run_checks() -> None:
        while not done.is_set():
            await checks.run()
            assert await findings(mail_database) == {}

    async def run_and_stop() -> None:
        try:
            await run_mails(mail_api)
        finally:
            done.set()

    await asyncio.gather(run_and_stop(), run_checks())
    await checks.run()
    assert await findings(mail_database) == {}
    rows = await mail_database.database.pool.fetch("SELECT DISTINCT state FROM mails")
    assert {row["state"] for row in rows} >= {"sent", "failed", "deferred", "uncertain", "canceled", "queued"}


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
async def test_each_check_finds_its_fault(mail_database: Clone, mail_api: Api, checks: Checks, name: str) -> None:
    await run_mails(mail_api)
    await plant(mail_database, PLANTED[name])
    await checks.run()
    found = await findings(mail_database)
    assert set(found) == {name} | ALSO.get(name, set())
    violations, fixed = found[name]
    assert violations > 0
    assert (fixed == violations) is (name in REPAIRED)
    await checks.run()
    assert (name in await findings(mail_database)) is (name not in REPAIRED)
    rows = await mail_database.database.pool.fetch(
        "SELECT detail ->> 'check' AS c FROM history WHERE kind = 'check.fixed'"
    )
    assert {row["c"] for row in rows} == ({name} | ALSO.get(name, set())) & REPAIRED


async def test_a_mail_that_is_being_sent_is_never_queued_again(
    mail_database: Clone, mail_api: Api, checks: Checks
) -> None:
    await run_mails(mail_api)
    await plant(
        mail_database,
        f"UPDATE mails SET state = 'sending' WHERE id = {DEFERRED}",
        "DELETE FROM queue WHERE mail_id = (SELECT id FROM mails WHERE state = 'sending')",
    )
    await checks.run()
    assert (await findings(mail_database))["missing_in_queue"] == (1, 0)
