"""P8: kill -9 of any process, in the middle of its work, loses nothing and sends nothing twice."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.support.stack import Ledgers, eventually

PEOPLE = 300
# `FAULT_SEEDS=20 make test` runs more of them.
SEEDS = int(os.environ.get("FAULT_SEEDS", "2"))
UNSETTLED = "SELECT count(*) FROM outbox WHERE effect = 'mail'"


async def _sign_up_many(ledgers: Ledgers, prefix: str) -> None:
    people = iter(range(PEOPLE))

    async def sign_up() -> None:
        for n in people:
            answer = await ledgers.sign_up(f"{prefix}-{n}@x.example")
            assert answer.status_code == 202

    await asyncio.gather(*(sign_up() for _ in range(16)))


async def _everyone_has_exactly_one_mail(ledgers: Ledgers, prefix: str) -> None:
    await eventually(lambda: ledgers.fetchval("signup", UNSETTLED), lambda count: count == 0, what="an empty outbox")
    still = "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state NOT IN ('sent', 'uncertain')"
    await eventually(
        lambda: ledgers.fetchval("mail", still, f"{prefix}-%"), lambda count: count == 0, what="an empty queue"
    )
    states = "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state = 'sent'"
    assert await ledgers.fetchval("mail", states, f"{prefix}-%") == PEOPLE
    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    caught = Counter(
        message["To"][0]["Address"] for message in page["messages"] if message["To"][0]["Address"].startswith(prefix)
    )
    assert len(caught) == PEOPLE
    doubles = [address for address, copies in caught.items() if copies != 1]
    assert not doubles, f"{len(doubles)} were mailed twice; the first: {await _explain(ledgers, doubles[0])}"
    assert await ledgers.fetchval("signup", "SELECT count(*) FROM outbox WHERE state = 'dead'") == 0


async def _explain(ledgers: Ledgers, address: str) -> str:
    """For a failed test: the attempts at a mail and the end of the worker's log."""
    (mail,) = await ledgers.mails(to=address)
    attempts = (await ledgers.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
    return f"{attempts}\n{ledgers.stack.log_of('mail-worker')[-6000:]}"


async def _kill_signup_worker(ledgers: Ledgers) -> None:
    ledgers.stack.kill("signup-worker")


async def _kill_mail_api(ledgers: Ledgers) -> None:
    ledgers.stack.kill("mail-api")


async def _kill_postgres(ledgers: Ledgers) -> None:
    ledgers.stack.kill_server("postgres")


async def _kill_valkey(ledgers: Ledgers) -> None:
    ledgers.stack.kill_server("valkey")


@pytest.mark.parametrize("fault", [_kill_signup_worker, _kill_mail_api, _kill_postgres, _kill_valkey])
async def test_in_the_middle_of_relaying_hundreds_of_rows(
    ledgers: Ledgers, fault: Callable[[Ledgers], Awaitable[None]]
) -> None:
    prefix = fault.__name__.replace("_", "")
    ledgers.stack.kill("signup-worker")
    await _sign_up_many(ledgers, prefix)
    ledgers.stack.start("signup-worker")
    await eventually(
        lambda: ledgers.fetchval("signup", UNSETTLED), lambda count: count < PEOPLE * 0.8, what="a relay under way"
    )
    await fault(ledgers)
    await ledgers.stack.bring_back()
    await _everyone_has_exactly_one_mail(ledgers, prefix)


async def _until_more_are_sent(ledgers: Ledgers, like: str, more: int) -> None:
    sent = "SELECT count(*) FROM mails WHERE request_id LIKE $1 AND state = 'sent'"
    enough = await ledgers.fetchval("mail", sent, like) + more
    await eventually(
        lambda: ledgers.fetchval("mail", sent, like), lambda count: bool(count >= enough), what="delivery under way"
    )


async def _nothing_is_left(ledgers: Ledgers, like: str) -> None:
    unfinished = "SELECT count(*) FROM mails WHERE request_id LIKE $1 AND state NOT IN ('sent', 'uncertain')"
    try:
        await eventually(lambda: ledgers.fetchval("mail", unfinished, like), lambda count: count == 0)
    except TimeoutError:
        rest = "SELECT state || coalesce(failure_reason, '') FROM mails WHERE request_id LIKE $1 AND state <> 'sent'"
        example = await ledgers.fetchval("mail", rest, like)
        pytest.fail(f"unfinished mails, for example {example}\n{ledgers.stack.log_of('mail-worker')[-5000:]}")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_killing_the_mail_worker_leaves_none_sending_and_records_every_copy(ledgers: Ledgers, seed: int) -> None:
    """The ledger agrees with the gateway: two copies only with policy `resend` and an unknown attempt on record."""
    draw = random.Random(seed)
    name = f"killed{seed}"
    mails = [
        {
            "request_id": f"{name}-{n}",
            "to": {"email": f"{name}-{n}@x.example"},
            "subject": "S",
            "text": "T" * draw.choice((10, 2000, 50_000)),
            "on_uncertain": draw.choice(("hold", "resend")),
        }
        for n in range(600)
    ]
    for start in range(0, len(mails), 200):
        answer = await ledgers.mail.post("/v1/mails/batch", json={"mails": mails[start : start + 200]})
        assert answer.status_code == 200
    for _ in range(2):
        await _until_more_are_sent(ledgers, f"{name}-%", draw.randrange(1, 200))
        ledgers.stack.kill("mail-worker")
        ledgers.stack.start("mail-worker")
    await _nothing_is_left(ledgers, f"{name}-%")
    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    copies = Counter(message["To"][0]["Address"] for message in page["messages"])
    ledger = {mail["to"]["email"]: mail for mail in await ledgers.mails(client="operator")}
    for mail in (ledger[f"{name}-{n}@x.example"] for n in range(len(mails))):
        received = copies[mail["to"]["email"]]
        if received == 1 and mail["state"] == "sent":
            continue
        attempts = (await ledgers.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
        unknown = sum(attempt["outcome"] == "unknown" for attempt in attempts)
        if mail["state"] == "uncertain":
            assert (mail["on_uncertain"], received <= unknown) == ("hold", True), (mail, attempts)
        else:
            assert mail["on_uncertain"] == "resend", (received, mail, attempts)
            assert 1 < received <= 1 + unknown, (received, mail, attempts)
