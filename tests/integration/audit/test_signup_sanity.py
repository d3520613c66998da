"""Signup's sanity checks: silent on a consistent ledger, and each finds its fault."""

import asyncio

import httpx
import pytest

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.accounts.verify import resend, verify
from services.signup.audit.alerts import alert_catalog
from services.signup.audit.sanity_checks import CHECKS
from services.signup.settings import Settings
from shared.audit.sanity_checks import Checks
from tests.support.bad_data import findings, plant
from tests.support.databases import Clone
from tests.support.signups import SignupLedger

from .conftest import Relays

PEOPLE = [f"sane-{n}@x.example" for n in range(6)]
# Makes everything older than the margins for work in progress.
AGE = (
    "ALTER TABLE history DISABLE TRIGGER USER",
    "UPDATE history SET at = at - interval '20 minutes'",
    "UPDATE users SET created_at = created_at - interval '20 minutes'",
    "UPDATE users SET erased_at = erased_at - interval '20 minutes' WHERE status = 'erased'",
    "UPDATE idempotency_keys SET created_at = created_at - interval '20 minutes'",
    "ALTER TABLE history ENABLE TRIGGER USER",
)
PLANTED = {
    "pending_without_mail": """
        DELETE FROM outbox_settled
        WHERE effect = 'mail' AND user_id = (SELECT min(id::text)::uuid FROM users WHERE status = 'pending')
    """,
    "owed_and_gone": """
        DELETE FROM outbox_settled WHERE effect = 'mail' AND payload ->> 'template' = 'welcome'
    """,
    "settled_and_owed": """
        INSERT INTO outbox (id, effect, user_id, payload, expires_at)
        SELECT id, effect, user_id, payload, now() FROM outbox_settled WHERE effect = 'stats' LIMIT 1
    """,
    "lease_long_past": """
        INSERT INTO outbox (effect, payload, state, lease, due_at, expires_at)
        VALUES ('mail', '{}', 'leased', uuidv7(), now() - interval '1 hour', now())
    """,
    "verified_without_history": """
        UPDATE users SET status = 'verified', verified_at = now()
        WHERE id = (SELECT min(id::text)::uuid FROM users WHERE status = 'pending')
    """,
    "statistics_differ": "UPDATE signup_statistics SET count = count + 1 WHERE kind = 'signups'",
    "partition_missing": """
        INSERT INTO history (at, kind, subject, actor) VALUES (now() + interval '2 years', 'test.planted', 's', 'test')
    """,
    "dead_for_a_day": """
        INSERT INTO outbox (effect, payload, state, due_at, dead_at, last_error, expires_at)
        VALUES ('mail', '{}', 'dead', NULL, now() - interval '25 hours', 'no', now())
    """,
    "erased_and_remembered": """
        UPDATE users SET status = 'erased', email = NULL, email_key = NULL, name = NULL,
            erased_at = now() - interval '20 minutes'
        WHERE id = (SELECT min(id::text)::uuid FROM users WHERE status = 'pending')
    """,
    "unreachable_users": """
        INSERT INTO mail_outcomes (request_id, mail_id, state, message_id, fingerprint, changed_at)
        SELECT s.id::text, uuidv7(), 'suppressed', '<m@x.example>', repeat('a', 64), now()
        FROM outbox_settled s JOIN users u ON u.id = s.user_id WHERE s.effect = 'mail' AND u.status = 'pending'
    """,
    "key_without_answer": """
        INSERT INTO idempotency_keys (scope, key, fingerprint, created_at)
        VALUES ('client:shop', 'k', sha256(''), now() - interval '1 hour')
    """,
}
# The faults of these are repaired at once.
REPAIRED = {"settled_and_owed", "key_without_answer"}
# Planted faults that more than one check must find.
ALSO = {"pending_without_mail": {"owed_and_gone"}}


@pytest.fixture
def checks(signup_database: Clone, signup_settings: Settings) -> Checks:
    return alert_catalog(signup_settings).checks_in(signup_database.database.pool)


async def run_signups(ledger: SignupLedger, relays: Relays, api: httpx.AsyncClient, policy: EffectPolicy) -> None:
    """Users sign up, one with an idempotency key; some verify, some request a resend; the relays run."""
    await ledger.sign_up(*PEOPLE)
    await relays.run()
    await api.post("/v1/signups", json={"email": "key@x.example", "name": "K"}, headers={"Idempotency-Key": "k1"})
    for email in PEOPLE[:2]:
        (row,) = await ledger.rows("users", email=email)
        (mail,) = [
            entry for entry in await ledger.rows("outbox_settled", user_id=row["id"]) if entry["effect"] == "mail"
        ]
        await verify(ledger.pool, ledger.ring, ledger.ring.sign(mail["id"], ledger.ring.signing_key_id), policy)
    await resend(ledger.pool, PEOPLE[3], policy)
    await ledger.sign_up(*PEOPLE[2:])
    await relays.run()


async def test_checks_are_silent_while_users_sign_up_and_relays_run(
    signup_database: Clone, ledger: SignupLedger, relays: Relays, operator: httpx.AsyncClient, checks: Checks
) -> None:
    async def run_checks() -> None:
        for _ in range(4):
            await checks.run()
            assert await findings(signup_database) == {}

    await asyncio.gather(run_signups(ledger, relays, operator, ledger.policy), run_checks())
    await plant(signup_database, *AGE)
    await checks.run()
    assert await findings(signup_database) == {}
    assert {result["name"] for result in await checks.results() if result["last_run_at"]} == {c.name for c in CHECKS}


@pytest.mark.parametrize(
    ("table", "columns", "values"),
    [("outbox", "expires_at", "now()"), ("outbox_settled", "outcome, attempts", "'canceled', 0")],
)
async def test_details_that_an_erased_user_left_beside_a_link_are_found(
    signup_database: Clone, ledger: SignupLedger, checks: Checks, table: str, columns: str, values: str
) -> None:
    await ledger.sign_up(PEOPLE[0])
    await plant(
        signup_database,
        "DELETE FROM outbox",
        PLANTED["erased_and_remembered"],
        f"""
        INSERT INTO {table} (id, effect, user_id, payload, created_at, {columns})
        SELECT uuidv7(), 'mail', id, '{{"details": {{"name": "X"}}}}', now(), {values} FROM users
        """,
    )
    await checks.run()
    assert (await findings(signup_database))["erased_and_remembered"] == (1, 0)


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
async def test_each_check_finds_its_fault(
    signup_database: Clone, ledger: SignupLedger, relays: Relays, operator: httpx.AsyncClient, checks: Checks, name: str
) -> None:
    await run_signups(ledger, relays, operator, ledger.policy)
    await plant(signup_database, *AGE, PLANTED[name])
    await checks.run()
    found = await findings(signup_database)
    assert set(found) == {name} | ALSO.get(name, set())
    violations, fixed = found[name]
    assert violations > 0
    assert (fixed == violations) is (name in REPAIRED)
    await checks.run()
    assert (name in await findings(signup_database)) is (name not in REPAIRED)
    repaired = await ledger.rows("history", kind="check.fixed")
    assert {entry["detail"]["check"] for entry in repaired} == ({name} & REPAIRED)


async def test_examples_name_rows_and_no_people(
    signup_database: Clone, ledger: SignupLedger, relays: Relays, operator: httpx.AsyncClient
) -> None:
    await run_signups(ledger, relays, operator, ledger.policy)
    await plant(signup_database, *AGE, PLANTED["verified_without_history"])
    answer = await operator.post("/audit/checks/run")
    assert answer.status_code == 200
    (result,) = [item for item in answer.json()["items"] if item["violations"]]
    assert (result["name"], result["severity"], result["fixed"]) == ("verified_without_history", "red", 0)
    (example,) = result["examples"]
    assert await ledger.row("users", id=example["id"])
    assert "@" not in answer.text
    assert (await operator.get("/audit/checks")).json() == answer.json()
