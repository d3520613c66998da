"""P8 when a server is lost: a synchronous standby takes over, and nothing that was acknowledged is missing.

Carries out docs/failover.md, command by command.
"""

import asyncio
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from tests.runbook.page import failover_steps, functions
from tests.support.running import open_clients, started
from tests.support.stack import PROCESSES, Ledgers, Stack, eventually
from tests.support.standby import Standby

# What each command of the page prints, in its order.
BEFORE = ["CREATE ROLE", "ALTER SYSTEM.* t", "", "server started", "ALTER SYSTEM.* t", "standby1 .*streaming .*sync"]
LOST = ["server promoted", " f ", '"pass".*"pass"', '"running"', '"done".*"balanced"']
LONG_LEASES = {"SIGNUP_LEASE_SECONDS": "6", "MAIL_LEASE_SECONDS": "6"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if missing := [name for name in ("curl", "jq") if shutil.which(name) is None]:
        pytest.skip(f"the page's commands need {' and '.join(missing)}, which is not installed")
    with started(Stack(tmp_path_factory.mktemp("failover"), LONG_LEASES, standbys={"postgres": "standby"})) as stack:
        yield stack


@pytest.fixture
def standby(stack: Stack) -> Iterator[Standby]:
    standby = Standby(stack, "postgres", functions())
    standby.prepare()
    yield standby
    standby.stop()


@pytest.fixture
async def ledgers(stack: Stack, standby: Standby) -> AsyncIterator[Ledgers]:
    del standby  # it stops after these
    await stack.bring_back()
    async with open_clients(stack) as ledgers:
        yield ledgers


async def _carry_out(standby: Standby, command: str, expected: str) -> None:
    async def run() -> str:
        return " ".join(standby.run(command).split())

    # Only what asks is asked again.
    patience = 60.0 if re.match("signup [^-]*$|.*SELECT [^-]*(FROM|recovery)", command) else 0.0
    await eventually(run, lambda seen: bool(re.search(expected, seen)), seconds=patience, what=command)


@dataclass
class Load:
    """Signups and mails, all the time; remembers what was acknowledged."""

    ledgers: Ledgers
    people: set[str] = field(default_factory=set)
    mails: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    stopped: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def _next(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self.stopped, self._numbers)

    async def sign_up(self) -> None:
        for n in self._next():
            email = f"follower-{n}@x.example"
            self._heard(await self.ledgers.sign_up(email), self.people, email)

    async def send(self) -> None:
        for n in self._next():
            mail = {"request_id": f"follower-{n}", "to": {"email": f"m-{n}@x.example"}, "subject": "S", "text": "T"}
            self._heard(await self.ledgers.mail.post("/v1/mails", json=mail), self.mails, f"follower-{n}")

    def _heard(self, answer: httpx.Response, acknowledged: set[str], name: str) -> None:
        self.statuses.add(answer.status_code)
        if answer.status_code == 202:
            acknowledged.add(name)

    async def until(self, more: int) -> None:
        people, mails = len(self.people) + more, len(self.mails) + more
        await eventually(self._counts, lambda seen: seen[0] >= people and seen[1] >= mails, what="load under way")

    async def _counts(self) -> tuple[int, int]:
        return len(self.people), len(self.mails)


@pytest.mark.promise("P8", "P1")
async def test_a_standby_takes_over_under_load_and_nothing_acknowledged_is_lost(
    ledgers: Ledgers, standby: Standby
) -> None:
    stack = ledgers.stack
    steps = failover_steps()
    superuser = await asyncpg.connect(stack.server_url("postgres"))
    await superuser.execute("ALTER SYSTEM SET max_connections = 200")  # stands on the primary's command line
    await superuser.close()
    for command, expected in zip(steps["Before"], BEFORE, strict=True):
        await _carry_out(standby, command, expected)

    load = Load(ledgers)
    working = [asyncio.create_task(work()) for work in (load.sign_up, load.sign_up, load.sign_up, load.send, load.send)]
    await load.until(40)
    processes = {name: stack.processes[name].pid for name in PROCESSES}
    stack.kill_server("postgres")
    *follow, run, look = zip(steps["When the primary is lost"], LOST, strict=True)
    for command, expected in follow:
        await _carry_out(standby, command, expected)
    await load.until(40)
    load.stopped = True
    await asyncio.gather(*working)

    assert load.statuses <= {202, 503}
    await _everything_acknowledged_exists_and_was_mailed_once(load)
    await _carry_out(standby, *run)
    await _carry_out(standby, *look)
    assert {name: stack.processes[name].pid for name in PROCESSES if stack.is_running(name)} == processes
    for line in itertools.chain(*(stack.log_of(name).splitlines() for name in PROCESSES)):
        assert json.loads(line)["event"] not in {"request_failed", "loop_failed"}, line


async def _everything_acknowledged_exists_and_was_mailed_once(load: Load) -> None:
    ledgers = load.ledgers
    people, mails = sorted(load.people), sorted(load.mails)
    known = "SELECT count(*) FROM users WHERE email_key = ANY ($1)"
    assert await ledgers.fetchval("signup", known, people) == len(people)
    accepted = "SELECT count(*) FROM mails WHERE request_id = ANY ($1)"
    assert await ledgers.fetchval("mail", accepted, mails) == len(mails)

    owed = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
    await eventually(lambda: ledgers.fetchval("signup", owed), lambda count: count == 0, what="an empty outbox")
    waiting = "SELECT count(*) FROM mails WHERE state NOT IN ('sent', 'uncertain')"
    await eventually(lambda: ledgers.fetchval("mail", waiting), lambda count: count == 0, what="an empty queue")

    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    copies = Counter(message["To"][0]["Address"] for message in page["messages"])
    ledger = {mail["to"]["email"]: mail["state"] for mail in await ledgers.mails()}
    assert {*people, *(name.replace("follower", "m") + "@x.example" for name in mails)} <= ledger.keys()
    wrong = {to: (state, copies[to]) for to, state in ledger.items() if copies[to] != 1 and state == "sent"}
    assert not wrong
    assert set(copies.values()) == {1}
    assert copies.keys() <= ledger.keys()
