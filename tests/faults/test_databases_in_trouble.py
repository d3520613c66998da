"""A database in trouble is an outage: 503, no 500, and all four processes are well again by themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from tests.support.stack import PROCESSES, Ledgers, eventually

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
# What starts the trouble of a database, and what ends it. Sessions are ended after the first.
TROUBLES = {
    "read-only": ("ALTER DATABASE {0} SET default_transaction_read_only = on",
                  "ALTER DATABASE {0} RESET default_transaction_read_only"),
    "role locked out": ("ALTER ROLE {0}_app NOLOGIN", "ALTER ROLE {0}_app LOGIN"),
    "database missing": ("ALTER DATABASE {0} RENAME TO {0}_gone", "ALTER DATABASE {0}_gone RENAME TO {0}"),
    "no connections left": ("ALTER ROLE {0}_app CONNECTION LIMIT 0", "ALTER ROLE {0}_app CONNECTION LIMIT -1"),
}  # fmt: skip


@asynccontextmanager
async def trouble(ledgers: Ledgers, service: str, kind: str) -> AsyncIterator[None]:
    begin, end = (statement.format(service) for statement in TROUBLES[kind])
    superuser = await asyncpg.connect(ledgers.stack.server_url("postgres"))
    try:
        if kind == "database missing":
            await superuser.execute(f"ALTER DATABASE {service} ALLOW_CONNECTIONS false")
            await superuser.fetch(END_SESSIONS, service)
        await superuser.execute(begin)
        await superuser.fetch(END_SESSIONS, service)
        yield
    finally:
        await superuser.execute(end)
        await superuser.execute(f"ALTER DATABASE {service} ALLOW_CONNECTIONS true")
        await superuser.close()


def _lines(ledgers: Ledgers, process: str, event: str) -> int:
    return sum(event in line for line in ledgers.stack.log_of(process).splitlines())


@pytest.mark.parametrize("kind", TROUBLES)
async def test_signup_says_503_and_is_well_again_by_itself(ledgers: Ledgers, kind: str) -> None:
    tag = kind.replace(" ", "-")
    # A new process, because each says only once a minute that it waits.
    ledgers.stack.terminate("signup-worker")
    ledgers.stack.start("signup-worker")
    before = _lines(ledgers, "signup-worker", "loops_wait_for_database")
    async with trouble(ledgers, "signup", kind):
        answers = [await ledgers.sign_up(f"{tag}-{n}@x.example") for n in range(20)]
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
        ready = await ledgers.anonymous.get("/health/ready")
        health = await ledgers.anonymous.get("/health")
        assert (ready.status_code, health.status_code) == (503, 503)
        await eventually(
            lambda: _count(ledgers, "signup-worker", "loops_wait_for_database"),
            lambda seen: seen > before,
            what="a line",
        )
    await eventually(
        lambda: ledgers.sign_up(f"{tag}-after@x.example"),
        lambda answer: answer.status_code == 202,
        what="signup is well",
    )
    await eventually(lambda: ledgers.caught(f"{tag}-after@x.example"), bool, what="the mail arrives")
    await eventually(lambda: ledgers.anonymous.get("/health/ready"), lambda answer: answer.status_code == 200)
    assert _lines(ledgers, "signup-worker", "loops_wait_for_database") <= before + 2, "a line a minute, not one a try"
    _nothing_died_and_nothing_broke(ledgers)


@pytest.mark.parametrize("kind", TROUBLES)
async def test_mail_says_503_and_is_well_again_by_itself(ledgers: Ledgers, kind: str) -> None:
    tag = f"mail-{kind.replace(' ', '-')}"
    body = {"request_id": tag, "to": {"email": f"{tag}@x.example"}, "subject": "s", "text": "t"}
    assert (await ledgers.mail.get("/v1/mails")).status_code == 200
    async with trouble(ledgers, "mail", kind):
        answers = [await ledgers.mail.post("/v1/mails", json=body) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {503}
        assert (await ledgers.mail.get("/health/ready")).status_code == 503
    await eventually(
        lambda: ledgers.mail.post("/v1/mails", json=body), lambda answer: answer.status_code == 202, what="mail is well"
    )
    caught = await eventually(lambda: ledgers.caught(f"{tag}@x.example"), bool, what="the mail arrives")
    assert len(caught) == 1
    _nothing_died_and_nothing_broke(ledgers)


async def test_sessions_that_are_ended_during_signups_are_no_fault_of_ours(ledgers: Ledgers) -> None:
    superuser = await asyncpg.connect(ledgers.stack.server_url("postgres"))

    async def end_sessions() -> None:
        for _ in range(5):
            await superuser.fetch(END_SESSIONS, "signup")

    answers, _ = await asyncio.gather(
        asyncio.gather(*(ledgers.sign_up(f"ended-{n}@x.example") for n in range(200))), end_sessions()
    )
    await superuser.close()
    assert {answer.status_code for answer in answers} <= {202, 503}
    _nothing_died_and_nothing_broke(ledgers)


async def test_a_server_that_stops_and_starts_is_no_fault_of_ours(ledgers: Ledgers) -> None:
    seen: set[int] = set()
    stop = asyncio.Event()

    async def sign_up_all_the_time() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answer: httpx.Response = await ledgers.sign_up(f"restart-{number}@x.example")
            seen.add(answer.status_code)

    writing = asyncio.create_task(sign_up_all_the_time())
    await eventually(lambda: _is_in(202, seen), bool)
    ledgers.stack.stop_server("postgres")
    await eventually(lambda: _is_in(503, seen), bool)
    await ledgers.stack.bring_back()
    stop.set()
    await writing
    assert seen == {202, 503}
    _nothing_died_and_nothing_broke(ledgers)


async def _count(ledgers: Ledgers, process: str, event: str) -> int:
    return _lines(ledgers, process, event)


async def _is_in(status: int, seen: set[int]) -> bool:
    return status in seen


def _nothing_died_and_nothing_broke(ledgers: Ledgers) -> None:
    for name in PROCESSES:
        assert ledgers.stack.is_running(name), f"{name} died"
        for line in ledgers.stack.log_of(name).splitlines():
            if line.startswith("{"):
                assert json.loads(line)["event"] not in {"request_failed", "loop_failed", "process_died"}, line
