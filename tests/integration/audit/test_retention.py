"""After months were dropped, sanity checks raise no false findings, and a timeline shows where it begins."""

import asyncpg
import httpx
import pytest

from services.mail.audit.alerts import alert_catalog as mail_catalog
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import alert_catalog as signup_catalog
from services.signup.settings import Settings
from shared.contract.ids import UUID
from shared.worker.partitions import PartitionRetention
from tests.support.bad_data import findings, plant
from tests.support.databases import Clone
from tests.support.months import maintain_partitions, plant_months
from tests.support.signups import SignupLedger

from .conftest import Relays

_PAST = "date_trunc('month', now(), 'UTC') - interval '4 months - 10 days'"
# A pending, a verified and an erased user, all from four months ago.
_USERS = f"""
WITH person AS (
    INSERT INTO users (id, email, email_key, name, source, status, created_at, updated_at, last_mail_at, verified_at,
                       erased_at)
    SELECT uuidv7({_PAST} - now()), s || '@x.example', s || '@x.example', s, 'web', s, {_PAST}, {_PAST}, {_PAST},
           CASE WHEN s = 'verified' THEN {_PAST} END, NULL
    FROM unnest(ARRAY['pending', 'verified']) AS s
    UNION ALL
    SELECT uuidv7({_PAST} - now()), NULL, NULL, NULL, 'web', 'erased', {_PAST}, {_PAST}, NULL, NULL, {_PAST}
    RETURNING id
), settled AS (
    INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, attempts, created_at, settled_at)
    SELECT uuidv7({_PAST} - now()), 'mail', id, '{{"template": "verification", "link": {{}}}}', 'delivered', 1,
           {_PAST}, {_PAST}
    FROM person
    RETURNING id, user_id
)
INSERT INTO history (id, at, kind, subject, related, actor)
SELECT uuidv7({_PAST} - now()), {_PAST}, 'user.signed_up', user_id::text, ARRAY[id::text], 'anonymous' FROM settled
"""
# The gateway never answered, and an operator resolved the mail as sent.
_RESOLVED = f"""
WITH m AS (
    INSERT INTO mails (id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, accepted_at, sent_at,
                       expires_at, attempts)
    VALUES (uuidv7({_PAST} - now()), 'shop', 'r', sha256('r'), 'sent', 'hold', 'live', '<m>', {_PAST}, {_PAST},
            {_PAST}, 1)
    RETURNING id
), a AS (
    INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, claimed_at, transmitting_at, ended_at)
    SELECT id, 1, uuidv7(), 'ended', 'unknown', true, {_PAST}, {_PAST}, {_PAST} FROM m
)
INSERT INTO history (id, at, kind, subject, actor, detail)
SELECT uuidv7({_PAST} - now()), {_PAST}, 'mail.resolved', id::text, 'key:ops', '{{"state": "sent"}}' FROM m
"""
BOTH = (PartitionRetention("history", 2), PartitionRetention("outbox_settled", 2))


async def test_signups_checks_are_silent_before_and_after_a_drop(
    signup_database: Clone, ledger: SignupLedger, relays: Relays, signup_settings: Settings
) -> None:
    for retention in BOTH:
        await plant_months(signup_database, retention.table, [3, 4], rows=3)
    await plant(signup_database, _USERS)
    await ledger.sign_up("now@x.example")
    await relays.run()
    checks = signup_catalog(signup_settings).checks_in(ledger.pool)
    await checks.run()
    assert await findings(signup_database) == {}
    await maintain_partitions(ledger.pool, *BOTH)
    assert (
        await ledger.pool.fetchval("SELECT count(*) FROM outbox_settled WHERE settled_at < now() - interval '2 day'")
        == 0
    )
    await checks.run()
    assert await findings(signup_database) == {}


async def test_mails_checks_are_silent_before_and_after_a_drop(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await plant_months(mail_database, "history", [3, 4], rows=3)
    await plant(mail_database, _RESOLVED)
    checks = mail_catalog(MailSettings()).checks_in(pool)
    await checks.run()
    assert await findings(mail_database) == {}
    await maintain_partitions(pool, BOTH[0])
    assert await pool.fetchval("SELECT count(*) FROM history WHERE kind = 'mail.resolved'") == 0
    await checks.run()
    assert await findings(mail_database) == {}


async def _user_with(clone: Clone, status: str) -> UUID:
    owner = await asyncpg.connect(clone.owner_url)
    user_id: UUID = await owner.fetchval("SELECT id FROM users WHERE status = $1 ORDER BY id LIMIT 1", status)
    await owner.close()
    return user_id


@pytest.mark.parametrize("status", ["pending", "verified", "erased"])
async def test_only_the_timeline_of_an_old_user_shows_where_it_begins(
    signup_database: Clone, ledger: SignupLedger, operator: httpx.AsyncClient, status: str
) -> None:
    for retention in BOTH:
        await plant_months(signup_database, retention.table, [4])
    await plant(signup_database, _USERS)
    (young,) = await ledger.sign_up("young@x.example")
    old = await _user_with(signup_database, status)
    whole = (await operator.get(f"/audit/users/{old}")).json()
    assert (whole["kept_from"], len(whole["items"])) == (None, 2)
    await maintain_partitions(ledger.pool, *BOTH)
    cut = (await operator.get(f"/audit/users/{old}")).json()
    kept_from = await ledger.pool.fetchval("SELECT max(kept_from) FROM partition_upkeep")
    assert (cut["kept_from"], cut["items"]) == (kept_from.strftime("%Y-%m-%dT%H:%M:%SZ"), [])
    assert (await operator.get(f"/audit/users/{young.user['id']}")).json()["kept_from"] is None
