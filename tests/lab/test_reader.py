"""The reader sees violations that were planted in real databases."""

from collections.abc import Mapping

import pytest

from tests.support.databases import Clone
from tests.support.mails import insert_mails

from .checker import judge
from .evidence import Evidence
from .reader import read_databases, tamper

USER_WITHOUT_HISTORY = """
INSERT INTO users (id, email, email_key, name, source) VALUES ($1::uuid, 'ada@x.example', 'ada@x.example', 'Ada', 'web')
"""
LEASED_AND_OVERDUE = """
INSERT INTO outbox (id, effect, user_id, payload, state, lease, due_at, expires_at)
VALUES ($1::uuid, 'mail', $2::uuid, '{"template": "verification"}', 'leased', gen_random_uuid(),
        now() - interval '1 minute', now() + interval '1 day')
"""
SETTLED_TWICE = """
INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, result, attempts, created_at, settled_at)
SELECT $1::uuid, 'stats', $2::uuid, '{"event": "user.signed_up"}', 'delivered', '{}', 1, now(),
       now() - make_interval(secs => n)
FROM generate_series(0, 1) AS n
"""
OUTCOME_OF_NO_MAIL = """
INSERT INTO mail_outcomes (request_id, mail_id, state, message_id, fingerprint, changed_at)
VALUES ('r', gen_random_uuid(), 'sent', '<r@x>', 'f', now())
"""
USER, LEASED, SETTLED = (f"00000000-0000-7000-8000-00000000000{n}" for n in range(3))


def _rows(evidence: Evidence) -> Mapping[str, set[str]]:
    return {verdict.promise: {violation.row for violation in verdict.violations} for verdict in judge(evidence)}


async def test_planted_rows_are_read_and_judged(signup_database: Clone, mail_database: Clone) -> None:
    await signup_database.as_owner(USER_WITHOUT_HISTORY, USER)
    await signup_database.as_owner(LEASED_AND_OVERDUE, LEASED, USER)
    await signup_database.as_owner(SETTLED_TWICE, SETTLED, USER)
    await signup_database.as_owner(OUTCOME_OF_NO_MAIL)
    (mail_id,) = await insert_mails(mail_database.database.pool)
    evidence = Evidence(reconciliation={"verdict": "balanced"})
    await read_databases(evidence, signup_database.owner_url, mail_database.owner_url)
    assert [(user.id, user.kinds) for user in evidence.users] == [(USER, ())]
    assert {(effect.id, effect.state, effect.settled, effect.noted) for effect in evidence.effects} == {
        (LEASED, "leased", 0, 0),
        (SETTLED, "delivered", 2, 0),
    }
    assert [outcome.request_id for outcome in evidence.outcomes] == ["r"]
    found = _rows(evidence)
    assert SETTLED in found["P3"]
    assert {"ada@x.example", str(mail_id)} <= found["P7"]
    assert {LEASED, str(mail_id)} <= found["P8"]


async def test_the_processes_role_cannot_change_history(signup_database: Clone, mail_database: Clone) -> None:
    evidence = Evidence()
    await tamper(evidence, {"signup": signup_database.runtime_url, "mail": mail_database.runtime_url})
    assert [each.refused for each in evidence.tampering] == [True] * 6


@pytest.mark.parametrize("right", ["UPDATE", "DELETE"])
async def test_a_right_that_was_granted_by_mistake_is_seen(mail_database: Clone, right: str) -> None:
    await mail_database.as_owner(f"GRANT {right} ON history TO mail_app")
    await mail_database.as_owner(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'history'::regclass"
        " AND NOT tgisinternal LOOP EXECUTE format('DROP TRIGGER %I ON history', t); END LOOP; END $$"
    )
    evidence = Evidence()
    await tamper(evidence, {"mail": mail_database.runtime_url})
    assert [each.statement.split()[0] for each in evidence.tampering if not each.refused] == [right]
