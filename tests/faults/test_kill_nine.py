"""P8: kill -9 of any process, in the middle of its work, loses nothing and sends nothing twice."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.support.stack import Books, eventually

PEOPLE = 2000
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
    await books.stack.heal()
    await _everybody_has_exactly_one_mail(books, prefix)


async def test_killing_the_mail_worker_leaves_no_mail_sending_and_no_copy_that_the_book_does_not_tell_of(
    books: Books,
) -> None:
    mails = [
        {
            "request_id": f"killed-{n}",
            "to": {"email": f"killed-{n}@x.example"},
            "subject": "S",
            "text": "T",
            "on_uncertain": "hold",
        }
        for n in range(1000)
    ]
    for start in range(0, 1000, 500):
        answer = await books.mail.post("/v1/mails/batch", json={"mails": mails[start : start + 500]})
        assert answer.status_code == 200
    sent = "SELECT count(*) FROM mails WHERE request_id LIKE 'killed-%' AND state = 'sent'"
    await eventually(lambda: books.fetchval("mail", sent), lambda count: count > 50, what="delivery under way")
    books.stack.kill("mail-worker")
    await books.stack.heal()
    unfinished = "SELECT count(*) FROM mails WHERE request_id LIKE 'killed-%' AND state NOT IN ('sent', 'uncertain')"
    await eventually(lambda: books.fetchval("mail", unfinished), lambda count: count == 0, what="an empty queue")
    page = (await books.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    copies = Counter(message["To"][0]["Address"] for message in page["messages"])
    ledger = {mail["to"]["email"]: mail["state"] for mail in await books.mails(client="operator")}
    killed = {email: state for email, state in ledger.items() if email.startswith("killed-")}
    assert len(killed) == 1000
    for email, state in killed.items():
        # `sent` is one copy; `uncertain` is honest about none or one.
        assert copies[email] == 1 if state == "sent" else copies[email] <= 1, (email, state)
