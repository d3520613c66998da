"""The console costs nothing while no operator looks: the first page loads it, and its reads have limits."""

import asyncio
import sys
from datetime import UTC, datetime

import asyncpg
import httpx
import pytest

from services.signup.console.database import IDLE_SECONDS, POOL_SIZE, IdleDatabase
from shared.audit.flow import HOUR, Rates, read_rates
from shared.db.pool import load_engine
from tests.support.console import browsing
from tests.support.databases import ROOT, Clone
from tests.support.stack import eventually

from .conftest import Desk, Open, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


async def _sessions(clone: Clone) -> int:
    count: int = await clone.database.pool.fetchval(SESSIONS, "signup-console")
    return count


async def test_the_api_loads_nothing_of_it_when_it_starts() -> None:
    code = "import sys, services.signup.app; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    modules = (await process.communicate())[0].decode().split()
    loaded = {name for name in modules if name.startswith("services.signup.console")}
    assert loaded == {"services.signup.console", "services.signup.console.mount"}
    assert "cryptography" not in modules


async def test_it_connects_with_the_first_page_and_with_few_sessions(open_desk: Open) -> None:
    desk = await open_desk()
    await desk.sign_up("quiet@example.org", "Quiet")
    assert await _sessions(desk.signup) == 0
    key = await desk.key("busy")
    async with browsing(desk.url) as browser:
        await browser.sign_in(key.text)
        assert 0 < await _sessions(desk.signup) <= POOL_SIZE
        paths = ["/console", "/console/outbox", "/console/history", "/console/people", "/console/checks"]
        pages = await asyncio.gather(*(browser.get(path) for path in paths * 4))
        assert {page.status for page in pages} == {200}
    # Those of the pool, and as many for lists.
    assert await _sessions(desk.signup) <= 2 * POOL_SIZE


def _database(clone: Clone) -> IdleDatabase:
    return IdleDatabase(clone.runtime_url, statement_cache_size=100)


async def test_it_closes_its_sessions_when_no_page_is_shown(desk: Desk) -> None:
    idle = _database(desk.signup)
    before = await _sessions(desk.signup)
    database = await idle.open()
    assert await database.pool.fetchval("SELECT 1") == 1
    timer = idle._closing
    assert timer is not None
    assert round(timer.when() - asyncio.get_running_loop().time()) == IDLE_SECONDS
    idle._close_soon()  # as the timer does
    await asyncio.gather(*idle._closed)
    assert not idle.is_open
    await eventually(lambda: _sessions(desk.signup), lambda sessions: sessions <= before, what="the end of its session")
    assert await (await idle.open()).pool.fetchval("SELECT 1") == 1, "the next page opens it again"
    await idle.close()


async def test_no_page_can_write(desk: Desk) -> None:
    idle = _database(desk.signup)
    database = await idle.open()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await database.pool.execute("UPDATE users SET name = 'x'")
    assert await database.pool.fetchval("SHOW transaction_read_only") == "on", "the next statement finds it well"
    await idle.close()


async def test_a_statement_that_takes_long_is_stopped_by_the_server(desk: Desk) -> None:
    idle = _database(desk.signup)
    database = await idle.open()
    async with database.pool.acquire() as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "2s"
        await connection.execute("SET LOCAL statement_timeout = 10")
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("SELECT pg_sleep(10)")
    await load_engine()
    import sqlalchemy as sa  # noqa: PLC0415 - after it was loaded

    for setting, value in (("statement_timeout", "2s"), ("transaction_read_only", "on")):
        rows = await database.fetch_all(sa.select(sa.func.current_setting(setting).label("value")))
        assert [row["value"] for row in rows] == [value]
    await idle.close()


async def test_the_limit_of_a_page_ends_with_its_transaction(desk: Desk) -> None:
    idle = _database(desk.signup)
    database = await idle.open()
    assert await database.pool.fetchval("SELECT 1") == 1
    raw = await super(type(database.pool), database.pool).acquire().__aenter__()
    assert await raw.fetchval("SHOW statement_timeout") == "0"
    await idle.close()


async def test_a_page_that_takes_too_long_says_that_it_does_and_the_next_one_works(
    desk: Desk, operator: Operator
) -> None:
    locker = await asyncpg.connect(desk.signup.owner_url)
    async with locker.transaction():
        await locker.execute("LOCK TABLE reconciliation_runs IN ACCESS EXCLUSIVE MODE")
        page = await operator.get("/console/reconciliation")
        assert (page.status, "did not answer in time" in page.text) == (503, True)
        assert (await operator.get("/console/outbox")).status == 200
    await locker.close()
    assert (await operator.get("/console/reconciliation")).status == 200


FILL = """
INSERT INTO history (kind, subject, actor) SELECT 'user.signed_up', n::text, 'test' FROM generate_series(1, $1) n
"""


async def _last_hour(desk: Desk) -> Rates:
    return await read_rates(desk.signup.database.pool, HOUR, datetime.now(UTC))


async def test_rates_are_exact_for_few_entries_and_estimated_for_many(desk: Desk) -> None:
    pool = desk.signup.database.pool
    before = await _last_hour(desk)
    await pool.execute(FILL, 30)
    few = await _last_hour(desk)
    # Signups of other tests may lie between two parts.
    grown = sum(few.kinds["user.signed_up"]) - sum(before.kinds.get("user.signed_up", [0.0]))
    assert (round(grown * HOUR.part_seconds / 60), few.estimated) == (30, False)
    await pool.execute(FILL, 60_000)
    many = await _last_hour(desk)
    assert many.estimated
    assert len(many.kinds["user.signed_up"]) == HOUR.parts


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_a_rare_kind_of_history_is_looked_for_piece_by_piece_and_none_is_left_out(
    desk: Desk, service: str
) -> None:
    clone, url = (desk.signup, desk.url) if service == "signup" else (desk.mail, desk.mail_url)
    kind, other = "test.rare", "INSERT INTO history (kind, subject, actor) VALUES ('test.common', 'x', 'test')"
    for number in range(12):
        await clone.database.pool.execute(other)
        if number % 4 == 0:
            await clone.database.pool.execute(
                "INSERT INTO history (kind, subject, actor) VALUES ($1, $2, 'test')", kind, str(number)
            )
    key = await desk.key("historian")
    found, pages, cursor = list[str](), 0, None
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key.text}"}) as http:
        while len(found) < 3:
            params = {"kind": kind, "among": "2", "limit": "1"} | ({"cursor": cursor} if cursor else {})
            page = (await http.get("/audit/history", params=params)).json()
            found += [entry["subject"] for entry in page["items"]]
            pages, cursor = pages + 1, page["next_cursor"]
        everything = (await http.get("/audit/history", params={"kind": kind})).json()
        assert (await http.get("/audit/history", params={"kind": kind, "among": "0"})).status_code == 422
    assert (found, everything["next_cursor"]) == (["8", "4", "0"], None)
    assert [entry["subject"] for entry in everything["items"]] == found
    assert pages > 3, "some pages were short"
