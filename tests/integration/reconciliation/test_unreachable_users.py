"""Operators see who waits for a verification mail that did not reach them. The mail service's real answers decide."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.signup.app import create_app
from services.signup.audit.alerts import alert_catalog
from services.signup.audit.queries import UNREACHABLE_USERS
from services.signup.audit.sanity_checks import UNREACHABLE
from services.signup.settings import Settings
from tests.support.apis import Api, running
from tests.support.bad_data import findings
from tests.support.metrics import NONE, scrape
from tests.support.reconciliation_lab import Laboratory

SCOPES = ("users:read", "audit:read", "audit:operate", "signups:write")
# What the mail service commits when a gateway refuses.
FAILED = """
WITH failed AS (
    UPDATE mails SET state = $1, next_attempt_at = NULL, failure_reason = 'why' WHERE state = 'queued' RETURNING id
), gone AS (
    DELETE FROM queue
)
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.' || $1, id::text, 'test', jsonb_build_object('state', $1) FROM failed
"""


@pytest.fixture
async def api(lab: Laboratory, signup_settings: Settings) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), lab.signup.database) as running_api:
        yield running_api


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await api.as_client("operator", SCOPES) as http:
        yield http


async def sign_up(lab: Laboratory, *emails: str, becomes: str | None = None) -> None:
    """Their mails are sent, or get the state `becomes`; signup knows it."""
    await lab.ledger.sign_up(*emails)
    await lab.hand_over()
    if becomes is None:
        await lab.deliver()
    else:
        await lab.mail.database.pool.execute(FAILED, becomes)
    await lab.follow()


async def suppress(lab: Laboratory, email: str) -> None:
    assert (await lab.http.put(f"/v1/suppressions/{email}", json={})).status_code == 201


async def listed(operator: httpx.AsyncClient, **filters: Any) -> set[str]:
    answer = await operator.get("/v1/users", params=filters)
    assert answer.status_code == 200, answer.text
    return {user["email"] for user in answer.json()["items"]}


async def test_those_whose_verification_mail_was_suppressed_or_not_delivered_are_listed_and_counted(
    lab: Laboratory, api: Api, operator: httpx.AsyncClient
) -> None:
    await suppress(lab, "suppressed@x.example")
    await sign_up(lab, "good@x.example", "suppressed@x.example")
    for state in ("failed", "expired"):
        await sign_up(lab, f"{state}@x.example", becomes=state)
    silenced = {"suppressed@x.example", "failed@x.example", "expired@x.example"}
    assert await listed(operator, unreachable="true") == silenced
    assert await listed(operator, unreachable="false") == {"good@x.example"}
    assert await listed(operator) == {"good@x.example", *silenced}
    assert await listed(operator, unreachable="true", email="failed@x.example") == {"failed@x.example"}
    assert (await scrape(api.operations))["counterfoil_signup_unreachable_users"] == {NONE: 3}


async def test_one_is_no_longer_unreachable_when_a_later_mail_is_sent(
    lab: Laboratory, operator: httpx.AsyncClient
) -> None:
    await sign_up(lab, "asa@x.example", becomes="failed")
    await lab.ledger.let_the_cooldown_pass()
    await lab.ledger.sign_up("asa@x.example")
    assert await listed(operator, unreachable="true") == set()  # the latest mail is on its way
    await lab.hand_over()
    await lab.deliver()
    await lab.follow()
    assert await listed(operator, unreachable="true") == set()


async def test_one_is_unreachable_when_the_latest_of_several_mails_failed(
    lab: Laboratory, operator: httpx.AsyncClient
) -> None:
    await sign_up(lab, "asa@x.example")
    await lab.ledger.let_the_cooldown_pass()
    await sign_up(lab, "asa@x.example", becomes="failed")
    assert await listed(operator, unreachable="true") == {"asa@x.example"}


async def test_one_who_verified_with_an_earlier_link_is_not_unreachable(
    lab: Laboratory, operator: httpx.AsyncClient
) -> None:
    await sign_up(lab, "asa@x.example", becomes="failed")
    await lab.pool.execute("UPDATE users SET status = 'verified', verified_at = now()")
    assert await listed(operator, unreachable="true") == set()


async def test_a_sanity_check_warns_of_each_of_them_without_their_address(
    lab: Laboratory, operator: httpx.AsyncClient, signup_settings: Settings
) -> None:
    await suppress(lab, "suppressed@x.example")
    await sign_up(lab, "good@x.example", "suppressed@x.example")
    await sign_up(lab, "failed@x.example", becomes="failed")
    await alert_catalog(signup_settings).checks_in(lab.pool).run()
    assert (await findings(lab.signup))[UNREACHABLE.name] == (2, 0)
    (result,) = [
        check for check in (await operator.get("/audit/checks")).json()["items"] if check["name"] == UNREACHABLE.name
    ]
    assert result["severity"] == "warning"
    users = {row["id"] for row in await lab.ledger.rows("users") if row["email"] != "good@x.example"}
    assert {example["id"] for example in result["examples"]} == {str(user_id) for user_id in users}
    assert "@" not in str(result["examples"])


async def test_an_outcome_of_a_mail_that_is_no_outbox_row_is_no_users(
    lab: Laboratory, operator: httpx.AsyncClient
) -> None:
    await suppress(lab, "ops@x.example")
    alert = {"request_id": "alert-1", "to": {"email": "ops@x.example"}, "subject": "S", "text": "T"}
    assert (await lab.http.post("/v1/mails", json=alert)).json()["state"] == "suppressed"
    await sign_up(lab, "asa@x.example")
    assert await lab.pool.fetchval("SELECT count(*) FROM mail_outcomes WHERE state = 'suppressed'") == 1
    assert await listed(operator, unreachable="true") == set()


async def test_an_ordinary_mail_is_not_in_the_index_of_those_that_reached_nobody(lab: Laboratory) -> None:
    await sign_up(lab, "asa@x.example")
    assert await lab.pool.fetchval("SELECT unreached FROM mail_outcomes") is None
    plan = "\n".join(row[0] for row in await lab.pool.fetch(f"EXPLAIN {UNREACHABLE_USERS}"))
    assert "mail_outcomes_unreached" in plan
