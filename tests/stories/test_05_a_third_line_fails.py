"""Incident 5: stats, a cache and a pet project join the job; the third line fails and the first two run N times."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from standardwebhooks import Webhook

from tests.support.stack import Ledgers, eventually
from tests.support.subscriber import SubscriberStandIn, subscriber_stand_in

TRIES = "SELECT coalesce(max(attempts), 0) FROM outbox WHERE effect = 'webhook' AND user_id = $1::uuid"
OWED = "SELECT array_agg(effect ORDER BY effect) FROM outbox WHERE user_id = $1::uuid"
SETTLED = "SELECT array_agg(effect ORDER BY effect) FROM outbox_settled WHERE user_id = $1::uuid"


@pytest.fixture
async def pet_project(ledgers: Ledgers) -> AsyncIterator[SubscriberStandIn]:
    """A webhook subscriber that fails at first."""
    async with subscriber_stand_in() as stand_in:
        stand_in.answer_with = 500
        created = (
            await ledgers.signup.post("/v1/webhooks", json={"url": stand_in.url, "events": ["user.signed_up"]})
        ).json()
        stand_in.secret = created["secret"]
        yield stand_in
        await ledgers.signup.delete(f"/v1/webhooks/{created['id']}")


async def signups_counted(ledgers: Ledgers) -> int:
    items = (await ledgers.signup.get("/v1/stats/signups")).json()["items"]
    return sum(item["signups"] for item in items)


async def signups_counted_to_the_end(ledgers: Ledgers) -> int:
    """The number of signups in the statistics once no row waits to be counted."""
    waiting = "SELECT count(*) FROM outbox WHERE effect = 'stats'"
    await eventually(lambda: ledgers.fetchval("signup", waiting), lambda count: count == 0, what="the statistics")
    return await signups_counted(ledgers)


async def test_a_failing_third_effect_is_tried_again_alone(ledgers: Ledgers, pet_project: SubscriberStandIn) -> None:
    before = await signups_counted_to_the_end(ledgers)
    await ledgers.sign_up("story5@x.example")
    user = await ledgers.user("story5@x.example")
    await eventually(lambda: ledgers.fetchval("signup", TRIES, user["id"]), lambda tries: tries >= 2, what="a retry")
    await eventually(
        lambda: ledgers.fetchval("signup", SETTLED, user["id"]),
        lambda effects: effects == ["cache", "mail", "stats"],
        what="the other effects",
    )
    assert await ledgers.fetchval("signup", OWED, user["id"]) == ["webhook"]
    assert await signups_counted_to_the_end(ledgers) == before + 1
    pet_project.answer_with = 200
    await eventually(
        lambda: ledgers.fetchval("signup", OWED, user["id"]), lambda effects: effects is None, what="the pet project"
    )
    event = Webhook(pet_project.secret).verify(pet_project.received[-1].body, pet_project.received[-1].headers)
    assert (event["type"], event["data"]) == ("user.signed_up", {"id": user["id"]})
    assert len({received.headers["webhook-id"] for received in pet_project.received}) == 1
    await eventually(lambda: ledgers.caught("story5@x.example"), lambda mails: len(mails) > 0, what="the mail")
    assert len(await ledgers.caught("story5@x.example")) == 1
    assert await ledgers.fetchval("signup", SETTLED, user["id"]) == ["cache", "mail", "stats", "webhook"]
    assert await signups_counted_to_the_end(ledgers) == before + 1


async def test_a_worker_killed_among_its_effects_repeats_none_of_them(
    ledgers: Ledgers, pet_project: SubscriberStandIn
) -> None:
    before = await signups_counted_to_the_end(ledgers)
    people = [f"story5-killed-{n}@x.example" for n in range(20)]
    await asyncio.gather(*(ledgers.sign_up(email) for email in people))
    ledgers.stack.kill("signup-worker")
    pet_project.answer_with = 200
    await ledgers.stack.bring_back()
    for email in people:
        await eventually(
            lambda email=email: ledgers.caught(email),  # type: ignore[misc]
            lambda mails: len(mails) > 0,
            what=f"the mail to {email}",
        )
        assert len(await ledgers.caught(email)) == 1
    assert await signups_counted_to_the_end(ledgers) == before + 20


async def test_a_cache_outage_blocks_no_other_effect_and_the_cache_is_filled_afterwards(ledgers: Ledgers) -> None:
    before = await signups_counted_to_the_end(ledgers)
    ledgers.stack.kill_server("valkey")
    await ledgers.sign_up("story5-cache@x.example")
    user = await ledgers.user("story5-cache@x.example")
    await eventually(
        lambda: ledgers.fetchval("signup", SETTLED, user["id"]),
        lambda effects: effects == ["mail", "stats"],
        what="the other effects",
    )
    assert await ledgers.fetchval("signup", OWED, user["id"]) == ["cache"]
    assert (
        await ledgers.fetchval("signup", "SELECT sum(attempts) FROM outbox WHERE user_id = $1::uuid", user["id"]) == 0
    )
    await ledgers.stack.bring_back()
    await eventually(
        lambda: ledgers.fetchval("signup", OWED, user["id"]), lambda effects: effects is None, what="the cache"
    )
    async with Redis.from_url(ledgers.stack._environment["REDIS_URL"]) as valkey:
        assert await valkey.get(f"counterfoil:profile:{user['id']}")
    assert len(await ledgers.caught("story5-cache@x.example")) == 1
    assert await signups_counted_to_the_end(ledgers) == before + 1
