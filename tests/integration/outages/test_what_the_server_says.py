"""Whatever PostgreSQL says about itself is an outage: 503 with Retry-After, and the connection is dropped."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import sqlalchemy as sa

from local import postgres
from shared.db.outages import UNAVAILABLE, drops_connection
from shared.db.pool import DatabaseOptions, open_database
from shared.observability.log_throttle import LogThrottle
from tests.support.apis import Api
from tests.support.databases import PASSWORDS, Clone
from tests.support.tcp_forwarder import Forwarder

# Class and meaning: PostgreSQL manual, appendix A.
SAID = ["08006", "25006", "28000", "28P01", "3D000", "53100", "53200", "53300", "55P03", "57P01", "57P03", "58030"]
FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the server says so' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail();
"""
END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""
PERSON = {"email": "asa@example.org", "name": "Åsa"}
MAIL = {"request_id": "r", "to": {"email": "asa@example.org"}, "subject": "s", "text": "t"}


async def _break(url: str, table: str, code: str) -> None:
    owner = await asyncpg.connect(url)
    await owner.execute(FAIL.format(table=table, code=code))
    await owner.close()


@pytest.mark.parametrize("code", SAID)
async def test_signup_answers_503_and_when_to_come_again(code: str, signup_api: Api, signup_database: Clone) -> None:
    await _break(signup_database.owner_url, "users", code)
    answer = await signup_api.http.post("/v1/signups", json=PERSON)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == "/problems/unavailable"


@pytest.mark.parametrize("code", SAID)
async def test_mail_answers_503_and_when_to_come_again(code: str, mail_api: Api, mail_database: Clone) -> None:
    headers = await mail_api.key("shop", "mails:send")
    await _break(mail_database.owner_url, "mails", code)
    answer = await mail_api.http.post("/v1/mails", json=MAIL, headers=headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("code", ["25006", "53100", "58030"])
async def test_a_server_that_refuses_writes_makes_the_service_unready(
    code: str, signup_api: Api, signup_database: Clone
) -> None:
    assert (await signup_api.http.get("/health/ready")).status_code == 200
    await _break(signup_database.owner_url, "users", code)
    await signup_api.http.post("/v1/signups", json=PERSON)
    assert (await signup_api.http.get("/health/ready")).status_code == 503


async def test_a_fault_of_our_own_stays_loud(signup_api: Api, signup_database: Clone) -> None:
    await _break(signup_database.owner_url, "users", "42P01")  # a table that does not exist
    assert (await signup_api.http.post("/v1/signups", json=PERSON)).status_code == 500


async def test_lists_meet_an_outage_as_one_too(signup_api: Api, signup_database: Clone) -> None:
    headers = await signup_api.key("ops", "users:read")
    name = signup_database.owner_url.rpartition("/")[2]
    owner = await asyncpg.connect(signup_database.owner_url)
    assert (await signup_api.http.get("/v1/users", headers=headers)).status_code == 200
    await owner.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 10')
    await signup_database.database.pool.execute(END_OTHER_SESSIONS)
    async with owner.transaction():
        await owner.execute("LOCK TABLE users")
        answer = await signup_api.http.get("/v1/users", headers=headers)
    await owner.close()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("code", ["25006", "53100", "57P01"])
async def test_a_connection_on_which_an_outage_was_seen_never_serves_again(code: str, signup_database: Clone) -> None:
    database = await open_database(DatabaseOptions(signup_database.runtime_url, "test", pool_size=1))
    before = await database.pool.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(UNAVAILABLE):
        await database.pool.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
    assert await database.pool.fetchval("SELECT pg_backend_pid()") != before
    await database.close()


async def test_a_canceled_statement_costs_no_connection(signup_database: Clone) -> None:
    database = await open_database(DatabaseOptions(signup_database.runtime_url, "test", pool_size=1))
    before = await database.pool.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(asyncpg.QueryCanceledError) as canceled:
        await database.pool.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57014'; END $$")
    assert not drops_connection(canceled.value)
    assert await database.pool.fetchval("SELECT pg_backend_pid()") == before
    await database.close()


async def test_pooled_sessions_of_a_server_that_becomes_read_only_are_dropped_at_once(signup_database: Clone) -> None:
    database = await open_database(DatabaseOptions(signup_database.runtime_url, "test", pool_size=1))
    await database.pool.fetchval("SELECT 1")
    async with database.pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = on")  # reported like a reload of the server
    fresh = await database.pool.fetchval("SHOW default_transaction_read_only")
    await database.close()
    assert fresh == "off"


async def test_a_half_open_connection_is_given_up_with_its_statement(signup_database: Clone) -> None:
    door = Forwarder(signup_database.runtime_url)
    await door.open()
    options = DatabaseOptions(door.url, "test", pool_size=1, statement_timeout_seconds=2)
    database = await open_database(options)
    await database.pool.fetchval("SELECT 1")
    door.swallow()
    with pytest.raises(TimeoutError):
        async with database.pool.acquire() as connection, connection.transaction():
            pass
    door.pass_on()
    async with asyncio.timeout(30):  # the driver alone would wait for the answer to its cancel request
        assert await database.pool.fetchval("SELECT 1") == 1
    await database.close()
    await door.shut()


async def test_a_url_of_several_hosts_leads_past_a_read_only_server_to_the_one_that_takes_writes(
    signup_database: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    standby = postgres.start_server(tmp_path_factory.mktemp("standby"), durable=False)
    try:
        await postgres.create_databases(standby.url, PASSWORDS, ["signup"])
        name = signup_database.runtime_url.rpartition("/")[2]
        superuser = await asyncpg.connect(standby.url)
        await superuser.execute(f'CREATE DATABASE "{name}" OWNER signup_owner')
        await superuser.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await superuser.close()
        role, host = signup_database.runtime_url.removesuffix(f"/{name}").rsplit("@", 1)
        other = standby.url.rsplit("@", 1)[1].partition("/")[0]
        both = f"{role}@{other},{host}/{name}?target_session_attrs=read-write"
        database = await open_database(DatabaseOptions(both, "test"))
        assert await database.pool.fetchval("SELECT count(*) FROM users") == 0
        await database.close()
        alone = await open_database(DatabaseOptions(f"{role}@{other}/{name}", "test"))
        with pytest.raises(UNAVAILABLE):
            await alone.pool.fetchval("SELECT 1")
        await alone.close()
    finally:
        standby.stop()


@dataclass(frozen=True)
class SilentFirst:
    """A machine that stops to answer, and the URL that names it before the server behind it."""

    machine: Forwarder
    url: str


@pytest.fixture
async def silent_first(signup_database: Clone) -> AsyncIterator[SilentFirst]:
    machine = Forwarder(signup_database.runtime_url)
    await machine.open()
    login, _, address = signup_database.runtime_url.rpartition("@")
    yield SilentFirst(machine, f"{login}@127.0.0.1:{machine.port},{address}")
    await machine.shut()


async def test_a_machine_that_no_longer_answers_leaves_time_for_the_next_one_and_is_asked_once(
    silent_first: SilentFirst,
) -> None:
    silent_first.machine.swallow()
    database = await open_database(DatabaseOptions(silent_first.url, "test", connect_timeout_seconds=6))
    async with database.pool.acquire() as first, database.pool.acquire() as second:
        assert [await first.fetchval("SELECT 1"), await second.fetchval("SELECT 1")] == [1, 1]
    assert silent_first.machine.accepted == 1
    assert len(await database.fetch_all(sa.select(sa.literal(1)))) == 1
    assert silent_first.machine.accepted == 1
    await database.close()


async def test_one_statement_without_an_answer_is_enough_to_leave_a_machine(silent_first: SilentFirst) -> None:
    database = await open_database(DatabaseOptions(silent_first.url, "test"))
    async with database.pool.acquire(), database.pool.acquire(), database.pool.acquire():
        silent_first.machine.swallow()
    with pytest.raises(TimeoutError):
        await database.pool.fetchval("SELECT 1", timeout=0.2)
    assert [await database.pool.fetchval("SELECT 1") for _ in range(3)] == [1, 1, 1]
    await database.close()


async def test_one_statement_of_a_transaction_without_an_answer_is_enough_too(silent_first: SilentFirst) -> None:
    """The rollback, which meets the same silence, must not hide what happened before it."""
    database = await open_database(DatabaseOptions(silent_first.url, "test", statement_timeout_seconds=2))
    async with database.pool.acquire(), database.pool.acquire():
        pass

    async def meet_silence() -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            silent_first.machine.swallow()
            await connection.fetchval("SELECT 1")

    with pytest.raises(UNAVAILABLE):
        await meet_silence()
    assert [await database.pool.fetchval("SELECT 1") for _ in range(3)] == [1, 1, 1]
    await database.close()


async def test_an_ordinary_error_after_a_time_that_ran_out_elsewhere_drops_no_connection(
    signup_database: Clone,
) -> None:
    database = await open_database(DatabaseOptions(signup_database.runtime_url, "test", pool_size=1))
    session = await database.pool.fetchval("SELECT pg_backend_pid()")

    async def write_down_what_timed_out() -> None:
        try:
            raise TimeoutError  # noqa: TRY301 - as somebody else's call
        except TimeoutError:
            async with database.pool.acquire():
                raise ValueError("not of the server") from None

    with pytest.raises(ValueError, match="not of the server"):
        await write_down_what_timed_out()
    assert await database.pool.fetchval("SELECT pg_backend_pid()") == session
    await database.close()


async def test_a_caller_with_little_patience_finds_the_next_server_at_its_second_try(silent_first: SilentFirst) -> None:
    """As `/health/ready`, which is given less time than each server's share."""
    silent_first.machine.swallow()
    database = await open_database(DatabaseOptions(silent_first.url, "test", connect_timeout_seconds=600))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await database.pool.fetchval("SELECT 1")
    async with asyncio.timeout(20):  # far below the share of the silent one
        assert await database.pool.fetchval("SELECT 1") == 1
    await database.close()


def test_a_fault_that_repeats_is_one_line_a_while_with_the_number_left_out() -> None:
    now = 0.0
    throttle = LogThrottle(60, clock=lambda: now)
    assert [throttle.admit("outage") for _ in range(4)] == [0, None, None, None]
    assert throttle.admit("another") == 0
    now = 61.0
    assert throttle.admit("outage") == 3
