"""An upgrade without a pause, as docs/upgrading.md has it: version 0.1.0 runs, the migrations run under load, both
versions work side by side on the same databases, each calling the other's mail API, and the old one leaves.

`make upgrade-test` runs it. It needs git's history. The old code runs with the present requirements.
"""

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.databases import ROOT, Server, alembic
from tests.support.running import open_clients, started
from tests.support.stack import PROCESSES, STOP_SECONDS, Ledgers, Stack, eventually
from tests.upgrade.broken import refused_rows, refused_statements, statements_of
from tests.upgrade.fleet import Fleet
from tests.upgrade.past import check_out, version_commit

# What docs/upgrading.md says to do before the migrations, so that nothing waits.
_BUILT_BEFORE = re.compile(r'psql "\$MAIL_DATABASE_URL" -c "(CREATE INDEX CONCURRENTLY [^"]+)"')


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    checkout = check_out(version_commit("0.1.0"), tmp_path_factory.mktemp("version-0.1.0"))
    with started(Stack(tmp_path_factory.mktemp("upgrade"), checkout=checkout)) as stack:
        yield stack


@pytest.fixture
def present(stack: Stack) -> Iterator[Fleet]:
    fleet = Fleet(stack)
    yield fleet
    fleet.stop()


@dataclass
class Load:
    """Signups and mails, all the time, at every API in turn; each second one is asked again, at any API."""

    signup_urls: list[str]
    mail_urls: list[str]
    ledgers: Ledgers
    people: set[str] = field(default_factory=set)
    mails: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    stopped: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def _next(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self.stopped, self._numbers)

    async def sign_up(self) -> None:
        for n in self._next():
            email = f"person-{n}@x.example"
            body = {"email": email, "name": "Åsa Öberg"}
            for turn in range(2):
                # The same key and body at another version is the same signup.
                answer = await self.ledgers.signup.post(
                    f"{_of(self.signup_urls, n + turn)}/v1/signups", json=body, headers={"Idempotency-Key": email}
                )
                self._expect(answer, {201})
                assert answer.json()["email"] == email
            self.people.add(email)

    async def sign_up_as_a_stranger(self) -> None:
        for n in self._next():
            email = f"stranger-{n}@x.example"
            url = f"{_of(self.signup_urls, n)}/v1/signups"
            self._expect(await self.ledgers.anonymous.post(url, json={"email": email, "name": "Bo"}), {202})
            self.people.add(email)

    async def send(self) -> None:
        for n in self._next():
            mail = {
                "request_id": f"m-{n}",
                "to": {"email": f"m-{n}@x.example"},
                "subject": "S",
                "text": "T",
                "metadata": {"n": str(n)},
            }
            for turn in range(2):
                answer = await self.ledgers.mail.post(f"{_of(self.mail_urls, n + turn)}/v1/mails", json=mail)
                self._expect(answer, {202})
            self.mails.add(f"m-{n}@x.example")

    def _expect(self, answer: httpx.Response, statuses: set[int]) -> None:
        if answer.status_code not in statuses:
            self.refused.append(f"{answer.request.url} {answer.status_code} {answer.text}")

    async def until(self, more: int) -> None:
        people, mails = len(self.people) + more, len(self.mails) + more

        async def enough() -> bool:
            return len(self.people) >= people and len(self.mails) >= mails

        await eventually(enough, bool, what="load under way")


def _of(urls: list[str], n: int) -> str:
    return urls[n % len(urls)]


async def test_the_versions_work_side_by_side_and_no_request_is_refused(stack: Stack, present: Fleet) -> None:
    async with open_clients(stack) as ledgers:
        await _ready(ledgers, stack.signup_url, stack.mail_url)
        load = Load([stack.signup_url], [stack.mail_url], ledgers)
        working = [
            asyncio.create_task(work())
            for work in (load.sign_up, load.sign_up_as_a_stranger, load.sign_up_as_a_stranger, load.send, load.send)
        ]
        await load.until(30)
        for statement in _BUILT_BEFORE.findall((ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")):
            await ledgers.execute("mail", statement)
        for service, verb in itertools.product(("mail", "signup"), (("upgrade", "head"), ("check",))):
            done = await asyncio.to_thread(alembic, service, stack.owner_url(service), *verb)
            assert done.returncode == 0, done.stderr
        await load.until(30)

        # Mail workers before mail APIs. The wire both ways: each signup worker calls the other version's mail API.
        for name in ("mail-worker", "mail-api", "signup-worker", "signup-api"):
            present.start(name)
        await _ready(ledgers, present.signup_url, present.mail_url)
        assert stack.terminate("signup-worker") == 0
        stack.start("signup-worker", MAIL_URL=present.mail_url)
        load.signup_urls.append(present.signup_url)
        load.mail_urls.append(present.mail_url)
        await load.until(60)

        # The old version leaves, as in docs/upgrading.md.
        present.processes["signup-worker"].terminate()
        assert present.processes["signup-worker"].wait(STOP_SECONDS) == 0
        present.start("signup-worker", MAIL_URL=present.mail_url)
        load.signup_urls.remove(stack.signup_url)
        load.mail_urls.remove(stack.mail_url)
        await load.until(20)
        for name in PROCESSES:
            stack.terminate(name)
        await load.until(30)
        load.stopped = True
        await asyncio.gather(*working)

        assert not load.refused, load.refused[:5]
        async with (
            httpx.AsyncClient(base_url=present.signup_url, headers=ledgers.signup.headers, timeout=30) as signup,
            httpx.AsyncClient(base_url=present.mail_url, headers=ledgers.mail.headers, timeout=30) as mail,
        ):
            after = Ledgers(stack, signup, mail, ledgers.anonymous, ledgers.catcher)
            await _everyone_was_mailed_once(after, load)
            await _the_ledgers_balance(after)
    logs = [stack.log_of(name) for name in PROCESSES] + [present.log_of(name) for name in PROCESSES]
    for line in itertools.chain(*(log.splitlines() for log in logs)):
        assert not line.startswith("{") or json.loads(line)["level"] not in {"error", "critical"}, line


# What the migrations since take from 0.1.0; docs/upgrading.md says so of each.
BROKEN = {"signup": set[str](), "mail": {"services.mail.operator_actions.queries.CORRECT_IF_NOT_SENT"}}


@pytest.mark.parametrize("service", BROKEN)
async def test_the_migrations_since_break_no_other_statement_of_0_1_0(
    postgres_server: Server, tmp_path: Path, service: str
) -> None:
    statements = statements_of(check_out(version_commit("0.1.0"), tmp_path), service)
    name = await postgres_server.clone(service)
    owner, head = postgres_server.url(name, f"{service}_owner"), postgres_server.url(service, f"{service}_owner")
    assert alembic(service, owner, "downgrade", "0001").returncode == 0
    took = await refused_statements(postgres_server.url(name, f"{service}_app"), statements)
    takes = await refused_statements(postgres_server.url(service, f"{service}_app"), statements)
    assert takes.keys() - took.keys() == BROKEN[service]
    assert await refused_rows(owner, head) == []
    await postgres_server.drop(name)


async def _ready(ledgers: Ledgers, *urls: str) -> None:
    for url in urls:
        await eventually(
            lambda url=url: ledgers.anonymous.get(f"{url}/health/ready"),  # type: ignore[misc]
            lambda answer: answer.status_code == 200,
            what=url,
        )


async def _everyone_was_mailed_once(ledgers: Ledgers, load: Load) -> None:
    owed = "SELECT count(*) FROM outbox"
    await eventually(lambda: ledgers.fetchval("signup", owed), lambda count: count == 0, what="an empty outbox")
    waiting = "SELECT count(*) FROM mails WHERE state <> 'sent'"
    await eventually(lambda: ledgers.fetchval("mail", waiting), lambda count: count == 0, what="an empty queue")
    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    copies = Counter(message["To"][0]["Address"] for message in page["messages"])
    assert load.people | load.mails <= copies.keys()
    assert set(copies.values()) == {1}


async def _the_ledgers_balance(ledgers: Ledgers) -> None:
    answer = await ledgers.signup.post("/audit/reconciliation/run", json={})
    assert answer.status_code == 202, answer.text
    run = await eventually(
        lambda: ledgers.signup.get(answer.headers["Location"]), lambda answer: answer.json()["state"] != "running"
    )
    assert (run.json()["verdict"], run.json()["compared"] > 0) == ("balanced", True), run.text
