"""Reconciliation after months of settled rows were dropped: it says so, and reports no false findings."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from services.signup.app import create_app
from services.signup.reconciliation.reconciler import Schedule
from services.signup.settings import Settings
from shared.contract.ids import UUID, uuid7
from shared.worker.partitions import PartitionRetention
from tests.support.apis import running
from tests.support.months import maintain_partitions, plant_months
from tests.support.reconciliation_lab import INSERT_UNREQUESTED_MAILS, Laboratory, counts

# The middle of the month that is $2 months before this one. Both ledgers get it, with an ID of that time.
_THEN = "(date_trunc('month', now(), 'UTC') - make_interval(months => $2::int) + interval '10 days')"
_AGE_SIGNUP = f"""
WITH aged AS (
    SELECT id, uuidv7({_THEN} - now()) AS new_id FROM unnest($1::uuid[]) AS id
), people AS (
    UPDATE users SET created_at = {_THEN}, updated_at = {_THEN}, last_mail_at = {_THEN}
    WHERE id IN (SELECT user_id FROM outbox_settled WHERE id = ANY ($1))
), outcomes AS (
    UPDATE mail_outcomes f SET request_id = new_id::text, changed_at = {_THEN}, sent_at = {_THEN}
    FROM aged WHERE f.request_id = aged.id::text
), settled AS (
    UPDATE outbox_settled s SET id = new_id, created_at = {_THEN}, settled_at = {_THEN}
    FROM aged WHERE s.id = aged.id
)
SELECT id, new_id FROM aged
"""
_AGE_MAIL = f"""
UPDATE mails m SET request_id = aged.new_id::text, accepted_at = {_THEN}, sent_at = {_THEN}
FROM unnest($1::uuid[], $3::uuid[]) AS aged (id, new_id) WHERE m.request_id = aged.id::text
"""
KEPT = PartitionRetention("outbox_settled", 2)


async def age(lab: Laboratory, ids: Sequence[UUID], months: int) -> list[UUID]:
    """Moves these mails and their users that many months back; returns the new request IDs."""
    signup, mail = await asyncpg.connect(lab.signup.owner_url), await asyncpg.connect(lab.mail.owner_url)
    aged = {row["id"]: row["new_id"] for row in await signup.fetch(_AGE_SIGNUP, ids, months)}
    await mail.execute(_AGE_MAIL, list(aged), months, list(aged.values()))
    await signup.close()
    await mail.close()
    return list(aged.values())


@pytest.fixture
async def old(lab: Laboratory) -> list[UUID]:
    """Six users, mailed and never verified. Two mails are months past their retention, one is old but kept."""
    await plant_months(lab.signup, "outbox_settled", [2, 3, 4])
    ids = await lab.mailed(6)
    return [*await age(lab, ids[:1], 4), *await age(lab, ids[1:2], 3), *await age(lab, ids[2:3], 2)]


async def owed(lab: Laboratory) -> int:
    """Returns how many mails wait in the outbox."""
    rows: int = await lab.pool.fetchval("SELECT count(*) FROM outbox WHERE effect = 'mail'")
    return rows


async def test_the_ledgers_are_balanced_before_and_after_a_drop(lab: Laboratory, old: list[UUID]) -> None:
    before = await lab.run()
    assert (before["verdict"], before["compared"], counts(before)) == ("balanced", 6, {})
    assert await maintain_partitions(lab.pool, KEPT) == 3
    assert await lab.pool.fetchval("SELECT count(*) FROM outbox_settled WHERE id = ANY ($1)", old[:2]) == 0
    after = await lab.run()
    assert (after["verdict"], after["compared"], counts(after)) == ("balanced", 4, {})
    kept_from = await lab.pool.fetchval("SELECT kept_from FROM partition_upkeep WHERE parent = 'outbox_settled'")
    assert before["window_from"] < kept_from == after["window_from"]
    assert await owed(lab) == 0, "no user is mailed again"


async def test_a_run_that_began_before_the_drop_is_balanced_too(lab: Laboratory, old: list[UUID]) -> None:
    run = await lab.request_run()
    await maintain_partitions(lab.pool, KEPT)
    reconciler = lab.reconciler()
    while await reconciler.run_once():
        pass
    result = await lab.result(run)
    assert (result["verdict"], result["compared"], counts(result)) == ("balanced", 6 - len(old[:2]), {})
    assert await owed(lab) == 0


async def test_users_found_unserved_before_the_drop_are_not_mailed_after_it(lab: Laboratory, old: list[UUID]) -> None:
    run = await lab.request_run()
    reconciler = lab.reconciler()
    while await lab.pool.fetchval("SELECT phase FROM reconciliation_runs WHERE id = $1", run) != "serve":
        await reconciler.run_once()
    await lab.pool.execute(
        "INSERT INTO reconciliation_findings (run_id, kind, request_id, reason, mark, repairable)"
        " SELECT $1, 'unserved_users', user_id::text, 'r', 'm', true FROM outbox_settled WHERE id = ANY ($2)",
        run,
        old,
    )
    await maintain_partitions(lab.pool, KEPT)
    while await reconciler.run_once():
        pass
    assert (await lab.result(run))["repaired"] == {}
    assert await owed(lab) == 0


async def test_a_late_restored_record_from_dropped_months_is_not_unexpected(lab: Laboratory, old: list[UUID]) -> None:
    await maintain_partitions(lab.pool, KEPT)
    late = "UPDATE mails SET accepted_at = now() WHERE request_id = $1"
    await lab.mail.as_owner(late, str(old[0]))
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, [str(uuid7()), "stranger"])
    result = await lab.run()
    assert counts(result) == {"unexpected": 2}, "unexpected mails are still found"
    assert str(old[0]) not in await lab.named("unexpected")


async def test_a_window_never_begins_before_the_kept_rows_and_the_answer_says_so(
    lab: Laboratory, old: list[UUID], signup_settings: Settings
) -> None:
    path, everything = "/audit/reconciliation", {"from": "2020-01-01T00:00:00Z"}
    async with (
        running(create_app(signup_settings), lab.signup.database) as api,
        await api.as_client("ops", ["audit:read", "audit:operate"]) as operator,
    ):

        async def request_run(body: dict[str, str]) -> dict[str, Any]:
            answer: dict[str, Any] = (await operator.post(f"{path}/run", json=body)).json()
            return answer

        assert (await request_run(everything))["kept_from"] is None
        assert len(old) == await maintain_partitions(lab.pool, KEPT)
        row = await lab.pool.fetchrow("SELECT kept_from FROM partition_upkeep WHERE parent = 'outbox_settled'")
        assert row is not None
        kept_from = row["kept_from"].strftime("%Y-%m-%dT%H:%M:%SZ")
        for body in (everything, {}):
            run = await request_run(body)
            assert (run["kept_from"], run["window"]["from"]) == (kept_from, kept_from)
        gone = await request_run(everything | {"to": "2020-01-02T00:00:00Z"})
        assert gone["window"] == dict.fromkeys(("from", "to"), "2020-01-02T00:00:00Z")
        reconciler = lab.reconciler()
        while await reconciler.run_once():
            pass
        latest = (await operator.get(path)).json()
        assert (latest["verdict"], latest["compared"], latest["kept_from"]) == ("incomplete", 0, kept_from)


async def test_the_hourly_run_covers_failed_windows_only_back_to_the_kept_rows(
    lab: Laboratory, old: list[UUID]
) -> None:
    await lab.pool.execute(
        "INSERT INTO reconciliation_runs"
        " (window_from, window_to, repair, actor, state, due_at, started_at, finished_at)"
        " VALUES ('2020-01-01', now(), true, 'test', 'failed', NULL, now() - interval '2 hours', now() - interval '2h')"
    )
    assert len(old) == await maintain_partitions(lab.pool, KEPT)
    await Schedule(lab.pool, lag_seconds=0).run_once()
    begins = await lab.pool.fetchval("SELECT window_from FROM reconciliation_runs WHERE state = 'running'")
    assert begins == await lab.pool.fetchval("SELECT max(kept_from) FROM partition_upkeep")


async def test_a_follower_whose_cursor_was_dropped_starts_again_and_mails_no_user(lab: Laboratory) -> None:
    await lab.mailed(3)
    cursor = await lab.pool.fetchval("SELECT cursor FROM mail_feed")
    await plant_months(lab.mail, "history", [4])
    owner = await asyncpg.connect(lab.mail.owner_url)
    await owner.execute("ALTER TABLE history DISABLE TRIGGER USER")
    await owner.execute("UPDATE history SET at = date_trunc('month', now(), 'UTC') - interval '4 months - 10 days'")
    await owner.execute("ALTER TABLE history ENABLE TRIGGER USER")
    await owner.close()
    await maintain_partitions(lab.mail.database.pool, PartitionRetention("history", 2))
    assert await lab.mail.database.pool.fetchval("SELECT count(*) FROM history WHERE kind LIKE 'mail.%'") == 0
    await lab.follow()
    assert await lab.pool.fetchval("SELECT cursor FROM mail_feed") != cursor
    reconciler = lab.reconciler()
    while await reconciler.run_once():
        pass
    latest = await lab.pool.fetchrow("SELECT verdict, compared FROM reconciliation_runs ORDER BY id DESC LIMIT 1")
    assert latest is not None
    assert tuple(latest) == ("balanced", 3)
    assert await owed(lab) == 0
    assert await lab.pool.fetchval("SELECT count(*) FROM mail_outcomes WHERE sent_at IS NOT NULL") == 3
