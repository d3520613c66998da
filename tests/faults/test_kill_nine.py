"""P8: kill -9 of any process, in the middle of its work, loses nothing and sends nothing twice."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.support.stack import Books, eventually

PEOPLE = 2000
# More of them on a patient machine: FAULT_SEEDS=20 make test
SEEDS = int(os.environ.get("FAULT_SEEDS", "2"))
UNSETTLED = "SELECT count(*) FROM outbox WHERE effect = 'mail'"


async def _sign_up_many(books: Books, prefix: str) -> None:
    people = iter(range(PEOPLE))

    async def sign_up() -> None:
        for n in people:
            answer = await books.sign_up(f"{prefix}-{n}@x.example")
            assert answer.status_code == 202

    await asyncio.gather(*(sign_up() for _ in range(16)))


async def _everybody_has_exactly_one_mail(books: Books, prefix: str) -> None:
    await eventually(lambda: books.fetchval("signup", UNSETTLED), lambda count: count == 0, what="an empty outbox")
    still = "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state NOT IN ('sent', 'uncertain')"
    await eventually(
        lambda: books.fetchval("mail", still, f"{prefix}-%"), lambda count: count == 0, what="an empty queue"
    )
    states = "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state = 'sent'"
    assert await books.fetchval("mail", states, f"{prefix}-%") == PEOPLE
    page = (await books.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    caught = Counter(
        message["To"][0]["Address"] for message in page["messages"] if message["To"][0]["Address"].startswith(prefix)
    )
    assert len(caught) == PEOPLE
    doubles = [address for address, copies in caught.items() if copies != 1]
    assert not doubles, f"{len(doubles)} were mailed twice; the first one's way: {await _way(books, doubles[0])}"
    assert await books.fetchval("signup", "SELECT count(*) FROM outbox WHERE state = 'dead'") == 0


async def _way(books: Books, address: str) -> str:
    """What a failure is understood by: the attempts at a mail, and what the worker said around it."""
    (mail,) = await books.mails(to=address)
    attempts = (await books.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
    return f"{attempts}\n{books.stack.log_of('mail-worker')[-6000:]}"


async def _kill_signup_worker(books: Books) -> None:
    books.stack.kill("signup-worker")


async def _kill_mail_api(books: Books) -> None:
    books.stack.kill("mail-api")


async def _kill_postgres(books: Books) -> None:
    books.stack.kill_server("postgres")


async def _kill_valkey(books: Books) -> None:
    books.stack.kill_server("valkey")


@pytest.mark.parametrize("fault", [_kill_signup_worker, _kill_mail_api, _kill_postgres, _kill_valkey])
async def test_in_the_middle_of_relaying_two_thousand_rows(
    books: Books, fault: Callable[[Books], Awaitable[None]]
) -> None:
    prefix = fault.__name__.replace("_", "")
    books.stack.kill("signup-worker")
    await _sign_up_many(books, prefix)
    books.stack.start("signup-worker")
    await eventually(
        lambda: books.fetchval("signup", UNSETTLED), lambda count: count < PEOPLE * 0.8, what="a relay under way"
    )
    await fault(books)
    await books.stack.bring_back()
    await _everybody_has_exactly_one_mail(books, prefix)


async def _until_more_are_sent(books: Books, like: str, more: int) -> None:
    sent = "SELECT count(*) FROM mails WHERE request_id LIKE $1 AND state = 'sent'"
    enough = await books.fetchval("mail", sent, like) + more
    await eventually(
        lambda: books.fetchval("mail", sent, like), lambda count: bool(count >= enough), what="delivery under way"
    )


async def _nothing_is_left(books: Books, like: str) -> None:
    unfinished = "SELECT count(*) FROM mails WHERE request_id LIKE $1 AND state NOT IN ('sent', 'uncertain')"
    try:
        await eventually(lambda: books.fetchval("mail", unfinished, like), lambda count: count == 0)
    except TimeoutError:
        rest = "SELECT state || coalesce(failure_reason, '') FROM mails WHERE request_id LIKE $1 AND state <> 'sent'"
        one = await books.fetchval("mail", rest, like)
        pytest.fail(f"still there, one of them {one}\n{books.stack.log_of('mail-worker')[-5000:]}")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_killing_the_mail_worker_leaves_nothing_sending_and_no_copy_untold(books: Books, seed: int) -> None:
    """The ledger agrees with what the gateway holds: two copies only where the policy says so and the record too."""
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
        answer = await books.mail.post("/v1/mails/batch", json={"mails": mails[start : start + 200]})
        assert answer.status_code == 200
    for _ in range(2):
        await _until_more_are_sent(books, f"{name}-%", draw.randrange(1, 200))
        books.stack.kill("mail-worker")
        books.stack.start("mail-worker")
    await _nothing_is_left(books, f"{name}-%")
    page = (await books.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    copies = Counter(message["To"][0]["Address"] for message in page["messages"])
    ledger = {mail["to"]["email"]: mail for mail in await books.mails(client="operator")}
    for mail in (ledger[f"{name}-{n}@x.example"] for n in range(len(mails))):
        held = copies[mail["to"]["email"]]
        if held == 1 and mail["state"] == "sent":
            continue
        attempts = (await books.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
        unknown = sum(attempt["outcome"] == "unknown" for attempt in attempts)
        if mail["state"] == "uncertain":
            assert (mail["on_uncertain"], held <= unknown) == ("hold", True), (mail, attempts)
        else:
            assert mail["on_uncertain"] == "resend", (held, mail, attempts)
            assert 1 < held <= 1 + unknown, (held, mail, attempts)
