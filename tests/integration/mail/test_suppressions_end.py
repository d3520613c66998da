"""Suppressions that a bounce or refusal caused end by themselves; those that a person asked for do not."""

from typing import Any

import httpx
import pytest

from services.mail.audit.sanity_checks import SUPPRESSED_AND_WAITING
from services.mail.delivery.smtp_outcomes import Step
from services.mail.ledger.retention import Retention
from shared.db.pool import Pool
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.delivery import make_rig
from tests.support.mails import insert_mails, states
from tests.support.memory_gateway import MemoryGateway

ADDRESS = "person@x.example"
_SUPPRESS = """
INSERT INTO suppressions (email_key, email, reason, source, ends_at)
VALUES ($1, $1, 'refused with 550 at RCPT', $2, now() + $3::text::interval)
"""


async def suppress(pool: Pool, *, source: str = "smtp", ends_in: str | None = "-1 second") -> None:
    await pool.execute(_SUPPRESS, ADDRESS, source, ends_in)


def mail(name: str) -> dict[str, Any]:
    return {"request_id": name, "to": {"email": ADDRESS}, "subject": "S", "text": "T"}


async def refuse_once(database: Clone, days: int) -> None:
    await insert_mails(database.database.pool, to=ADDRESS)
    rig = make_rig(
        database.database.pool,
        [MemoryGateway(answer=lambda _envelope: (Step.RCPT, 550, "5.1.1 no such user"))],
        suppression_days=days,
    )
    await rig.deliver()


@pytest.mark.parametrize(("days", "expected"), [(7, True), (0, None)])
async def test_a_suppression_by_a_refusal_ends_after_the_configured_days(
    mail_database: Clone, days: int, *, expected: bool | None
) -> None:
    await refuse_once(mail_database, days)
    query = """
    SELECT ends_at BETWEEN now() + interval '7 days' - interval '1 hour' AND now() + interval '7 days'
    FROM suppressions WHERE source = 'smtp'
    """
    assert await mail_database.database.pool.fetchval(query) is expected


async def test_an_address_is_accepted_again_when_its_suppression_has_ended(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    await suppress(mail_api.database.pool, ends_in="1 hour")
    assert (await client.post("/v1/mails", json=mail("before"))).json()["state"] == "suppressed"
    await mail_api.database.pool.execute("UPDATE suppressions SET ends_at = now()")
    assert (await client.post("/v1/mails", json=mail("after"))).json()["state"] == "queued"
    assert (await client.get("/v1/suppressions")).json()["items"] == []
    assert (await client.delete(f"/v1/suppressions/{ADDRESS}")).status_code == 404


@pytest.mark.parametrize(("ends_in", "state"), [("-1 second", "sent"), ("1 hour", "suppressed"), (None, "suppressed")])
async def test_a_claim_ignores_a_suppression_that_has_ended(
    mail_database: Clone, ends_in: str | None, state: str
) -> None:
    pool = mail_database.database.pool
    await suppress(pool, ends_in=ends_in)
    await insert_mails(pool, to=ADDRESS)
    await make_rig(pool, [MemoryGateway()]).deliver()
    assert await states(mail_database.database) == {state: 1}


async def test_an_address_that_is_refused_again_after_the_end_is_suppressed_again(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await suppress(pool, source="bounce")
    await refuse_once(mail_database, 30)
    assert await pool.fetchval("SELECT source FROM suppressions WHERE ends_at > now()") == "smtp"


async def test_an_operators_wish_takes_the_place_of_a_suppression_that_would_end(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    await suppress(mail_api.database.pool, ends_in="1 hour")
    answer = await client.put(f"/v1/suppressions/{ADDRESS}", json={"reason": "asked by phone"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["ends_at"]) == (200, "asked by phone", None)
    again = await client.put(f"/v1/suppressions/{ADDRESS}", json={"reason": "another"})
    assert (again.status_code, again.json()["reason"]) == (200, "asked by phone")


async def test_a_wish_after_the_end_is_a_new_suppression(mail_api: Api, client: httpx.AsyncClient) -> None:
    await suppress(mail_api.database.pool)
    assert (await client.put(f"/v1/suppressions/{ADDRESS}")).status_code == 201


async def test_retention_removes_what_has_ended_and_nothing_else(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await suppress(pool)
    await pool.execute("""
        INSERT INTO suppressions (email_key, email, reason, source, ends_at) VALUES
            ('later', 'later', 'r', 'bounce', now() + interval '1 day'), ('never', 'never', 'r', 'smtp', NULL),
            ('complained', 'complained', 'r', 'complaint', NULL), ('manual', 'manual', 'r', 'key:a/b', NULL)
    """)
    await Retention(pool, content_days=30, address_days=0).run_once()
    left = await pool.fetch("SELECT email_key FROM suppressions ORDER BY 1")
    assert [row["email_key"] for row in left] == ["complained", "later", "manual", "never"]
    (line,) = await pool.fetch("SELECT subject, actor FROM history WHERE kind = 'address.allowed'")
    assert (line["subject"].startswith("address:"), line["actor"]) == (True, "mail-worker")


async def test_a_mail_that_waits_for_an_address_whose_suppression_ended_is_no_violation(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, to=ADDRESS)
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 hour'")
    await suppress(pool)
    await pool.execute("UPDATE suppressions SET created_at = now() - interval '1 hour'")
    assert await pool.fetch(SUPPRESSED_AND_WAITING.query) == []
    await pool.execute("UPDATE suppressions SET ends_at = NULL")
    assert len(await pool.fetch(SUPPRESSED_AND_WAITING.query)) == 1
