"""The migrations, and the changes that the databases refuse."""

import asyncio

import asyncpg
import pytest

from tests.support.databases import Clone, Server, alembic
from tests.support.stack import eventually


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_a_migrated_database_goes_down_and_up_again_and_equals_the_tables(
    postgres_server: Server, service: str
) -> None:
    name = await postgres_server.clone(service)
    url = postgres_server.url(name, f"{service}_owner")
    for arguments in (("check",), ("downgrade", "base"), ("upgrade", "head"), ("check",)):
        done = alembic(service, url, *arguments)
        assert done.returncode == 0, done.stderr
    await postgres_server.drop(name)


async def test_migrating_without_the_runtime_role_says_so(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_RUNTIME_ROLE", "missing_role")
    done = alembic("mail", postgres_server.url("mail", "mail_owner"), "upgrade", "head")
    assert done.returncode != 0
    assert "missing_role" in done.stderr


WAITING = "SELECT true FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = $1::regclass"


async def test_a_migration_that_waits_for_a_lock_gives_way_to_the_services_and_is_tried_again(
    signup_database: Clone,
) -> None:
    assert alembic("signup", signup_database.owner_url, "downgrade", "0004").returncode == 0
    holder = await asyncpg.connect(signup_database.owner_url)
    async with asyncio.TaskGroup() as tasks, holder.transaction():
        await holder.execute("SELECT FROM users")
        migrating = tasks.create_task(
            asyncio.to_thread(alembic, "signup", signup_database.owner_url, "upgrade", "head")
        )
        pool = signup_database.database.pool
        await eventually(lambda: pool.fetchval(WAITING, "users"), bool, what="a migration that waits")
        # Ends only when the migration no longer waits, because it would wait behind it.
        await pool.execute("UPDATE users SET name = name", timeout=60)
    assert migrating.result().returncode == 0, migrating.result().stderr
    await holder.close()


@pytest.mark.promise("P7")
@pytest.mark.parametrize("statement", ["UPDATE history SET actor = 'x'", "DELETE FROM history", "TRUNCATE history"])
async def test_history_refuses_every_change_even_from_its_owner(either_database: Clone, statement: str) -> None:
    owner = await asyncpg.connect(either_database.owner_url)
    await owner.execute("INSERT INTO history (kind, subject, actor) VALUES ('test.written', 's', 'a')")
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(statement)
    partition = await owner.fetchval("SELECT tableoid::regclass::text FROM history")
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(statement.replace("history", partition))
    await owner.close()


@pytest.mark.promise("P7")
@pytest.mark.parametrize("statement", ["UPDATE history SET actor = 'x'", "DELETE FROM history", "TRUNCATE history"])
async def test_the_runtime_role_has_no_right_to_change_history(either_database: Clone, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await either_database.database.pool.execute(statement)


async def test_security_definer_functions_search_temporary_tables_last(either_database: Clone) -> None:
    rows = await either_database.database.pool.fetch(
        "SELECT oid::regprocedure::text AS name, proconfig FROM pg_proc"
        " WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert rows
    for row in rows:
        assert "search_path=pg_catalog, public, pg_temp" in row["proconfig"], row["name"]


async def test_the_runtime_role_makes_partitions_ahead_only_through_the_function(signup_database: Clone) -> None:
    pool = signup_database.database.pool
    assert await pool.fetchval("SELECT ensure_partitions(3)") == 0
    assert await pool.fetchval("SELECT ensure_partitions(5)") == 4  # two tables, two more months
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("CREATE TABLE mine (x int)")


REFUSED_USERS = {
    "an erased user with an address": "'e@x.example', 'e@x.example', 'E', 'erased', now(), NULL",
    "a pending user that was verified": "'p@x.example', 'p@x.example', 'P', 'pending', NULL, now()",
    "a verified user without a time": "'v@x.example', 'v@x.example', 'V', 'verified', NULL, NULL",
    "an address without its key": "'k@x.example', NULL, 'K', 'pending', NULL, NULL",
    "a key in upper case": "'K@x.example', 'K@x.example', 'K', 'pending', NULL, NULL",
    "an unknown status": "'u@x.example', 'u@x.example', 'U', 'active', NULL, NULL",
}


@pytest.mark.parametrize("values", REFUSED_USERS.values(), ids=REFUSED_USERS.keys())
async def test_the_signup_database_refuses(signup_database: Clone, values: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await signup_database.database.pool.execute(
            "INSERT INTO users (email, email_key, name, status, erased_at, verified_at, source)"
            f" VALUES ({values}, 'web')"
        )


async def test_two_users_cannot_share_an_address(signup_database: Clone) -> None:
    insert = "INSERT INTO users (email, email_key, name, source) VALUES ('A@x.example', 'a@x.example', 'A', 'web')"
    await signup_database.database.pool.execute(insert)
    with pytest.raises(asyncpg.UniqueViolationError):
        await signup_database.database.pool.execute(insert)


REFUSED_OUTBOX = {
    "a lease without the state": "'pending', now(), gen_random_uuid(), NULL, NULL",
    "a leased row without a lease": "'leased', now(), NULL, NULL, NULL",
    "a dead row that is still due": "'dead', now(), NULL, now(), 'why'",
    "a dead row without a reason": "'dead', NULL, NULL, now(), NULL",
    "a pending row that is never due": "'pending', NULL, NULL, NULL, NULL",
}


@pytest.mark.parametrize("values", REFUSED_OUTBOX.values(), ids=REFUSED_OUTBOX.keys())
async def test_the_outbox_refuses(signup_database: Clone, values: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await signup_database.database.pool.execute(
            "INSERT INTO outbox (state, due_at, lease, dead_at, last_error, effect, payload, expires_at)"
            f" VALUES ({values}, 'mail', '{{}}', now())"
        )


REFUSED_MAILS = {
    "sent without a time": "'sent', NULL, NULL, NULL",
    "queued with a time of sending": "'queued', now(), now(), NULL",
    "deferred without a next attempt": "'deferred', NULL, NULL, 'why'",
    "failed without a reason": "'failed', NULL, NULL, NULL",
    "uncertain but still due": "'uncertain', NULL, now(), 'why'",
    "an unknown state": "'lost', NULL, NULL, 'why'",
}


@pytest.mark.promise("P5")
@pytest.mark.parametrize("values", REFUSED_MAILS.values(), ids=REFUSED_MAILS.keys())
async def test_the_ledger_refuses(mail_database: Clone, values: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await mail_database.database.pool.execute(
            "INSERT INTO mails (state, sent_at, next_attempt_at, failure_reason,"
            " id, client, request_id, fingerprint, on_uncertain, lane, message_id, expires_at)"
            f" VALUES ({values}, uuidv7(), 'c', 'r', sha256(''), 'hold', 'live', '<m@x>', now())"
        )


@pytest.mark.promise("P4")
async def test_a_request_id_is_unique_within_its_client_and_free_in_another(mail_database: Clone) -> None:
    insert = (
        "INSERT INTO mails (state, next_attempt_at, id, client, request_id, fingerprint, on_uncertain, lane,"
        " message_id, expires_at)"
        " VALUES ('queued', now(), uuidv7(), $1, 'r', sha256(''), 'hold', 'live', '<m@x>', now())"
    )
    await mail_database.database.pool.execute(insert, "one")
    await mail_database.database.pool.execute(insert, "other")
    with pytest.raises(asyncpg.UniqueViolationError):
        await mail_database.database.pool.execute(insert, "one")
