"""In which order, and how often, a subscriber of the mail service gets events."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import asyncpg
import httpx
import pytest

from services.mail.webhooks import notifier as notifier_module
from services.mail.webhooks import queries
from services.mail.webhooks.events import EVENTS
from shared.contract.ids import UUID, uuid7
from shared.webhooks.secret import OLD_SECRET_SECONDS
from tests.support.mail_events import MailEvents
from tests.support.notifiers import LoneNotifier
from tests.support.subscriber import SubscriberStandIn, subscriber_stand_in
from tests.support.webhooks import deliveries, subscribe

MakeNotifier = Callable[..., LoneNotifier]
LIVES = (
    ("mail.deferred", "mail.sent", "mail.delivered"),
    ("mail.deferred", "mail.deferred", "mail.failed"),
    ("mail.sent", "mail.bounced", "mail.complained"),
)


async def live_through(events: MailEvents, mails: int) -> dict[str, list[str]]:
    """Things happen to mails, by turns. Returns the webhook IDs of each mail in their order."""
    told: dict[str, list[str]] = defaultdict(list)
    born = await events.mails(mails)
    for step in range(3):
        for n, mail in enumerate(born):
            told[str(mail)].append(str(await events.tell(LIVES[n % 3][step], mail)))
    return told


def of_each_mail(subscriber: SubscriberStandIn) -> dict[str, list[str]]:
    """The webhook IDs received of each mail in their order."""
    received: dict[str, list[str]] = defaultdict(list)
    for event, webhook_id in zip(subscriber.events(), subscriber.ids(), strict=True):
        received[event["data"]["id"]].append(webhook_id)
    return received


async def test_a_subscriber_that_is_down_for_an_hour_gets_every_event_once_and_in_order_for_each_mail(
    events: MailEvents, client: httpx.AsyncClient, make_notifier: MakeNotifier
) -> None:
    async with subscriber_stand_in() as before:
        url = before.url
    created = await subscribe(client, url, *EVENTS)
    notifier = make_notifier()
    told: dict[str, list[str]] = {}
    for _ in range(4):
        told |= await live_through(events, 6)
        for _ in range(3):
            await notifier.run()
            notifier.let_probe()
        await events.let_pass("15 minutes")
    attempts = sum(row["attempts"] for row in await events.waiting())
    assert len(await events.waiting()) == 4 * 6 * 3
    # What its breaker let pass: a first batch, and one call at each probe.
    assert 0 < attempts < 30
    async with subscriber_stand_in(port=int(url.split(":")[2].split("/")[0])) as back:
        for _ in range(3):
            await events.make_due()
            notifier.let_probe()
            await notifier.run()
        assert of_each_mail(back) == told
    assert await events.waiting() == []
    log = await deliveries(client, created["id"], limit=500)
    assert {line["state"] for line in log} == {"delivered"}
    assert sorted(line["id"] for line in log) == sorted(webhook_id for mail in told.values() for webhook_id in mail)


@pytest.mark.promise("webhooks")
async def test_a_later_event_waits_for_an_earlier_one_of_its_mail_and_for_no_other(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *EVENTS)
    refused, other = await events.mails(2)
    first = await events.tell("mail.deferred", refused)
    subscriber.answer_with = 400
    await notifier.run()
    subscriber.answer_with = 200
    second = await events.tell("mail.sent", refused)
    third = await events.tell("mail.sent", other)
    await notifier.run()
    assert subscriber.ids() == [str(first), str(third)]
    await events.make_due()
    await notifier.run()
    assert subscriber.ids() == [str(first), str(third), str(first), str(second)]


async def test_two_workers_at_once_deliver_each_event_once_and_in_order(
    events: MailEvents,
    client: httpx.AsyncClient,
    make_notifier: MakeNotifier,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "_BATCH", 3)
    await subscribe(client, subscriber.url, *EVENTS)
    told = await live_through(events, 12)
    one, other = make_notifier(), make_notifier()
    while await events.waiting() or not subscriber.received:
        await asyncio.gather(one.run_once(), other.run_once())
    assert of_each_mail(subscriber) == told
    assert one.notifier.counts + other.notifier.counts == {"delivered": 36}


# What is added is delivered at once, so that nothing that waits keeps it from being added again.
DELIVER_AT_ONCE = (
    "CREATE TABLE added (id uuid, place bigserial)",
    """
    CREATE FUNCTION deliver_at_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO added (id) VALUES (NEW.id);
        DELETE FROM webhook_deliveries WHERE id = NEW.id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER deliver_at_once AFTER INSERT ON webhook_deliveries
    FOR EACH ROW EXECUTE FUNCTION deliver_at_once()
    """,
    "GRANT SELECT ON added TO mail_app",
)


async def test_workers_that_feed_at_once_add_each_event_once(events: MailEvents, client: httpx.AsyncClient) -> None:
    for statement in DELIVER_AT_ONCE:
        await events.clone.as_owner(statement)
    await subscribe(client, "http://127.0.0.1:9/", *EVENTS)
    arguments = (list(EVENTS), 10_000, 1_000, 5, 60.0, OLD_SECRET_SECONDS)
    await events.pool.fetch(queries.FEED, *arguments)
    for _ in range(5):
        await live_through(events, 6)
        # More looks than there are steps of five entries.
        await asyncio.gather(*(events.pool.fetch(queries.FEED, *arguments) for _ in range(9)))
    while (await events.pool.fetch(queries.FEED, *arguments))[0]["more"]:
        pass
    added = await events.pool.fetch("SELECT id FROM added ORDER BY place")
    history = await events.pool.fetch("SELECT id FROM history WHERE kind LIKE 'mail.%' ORDER BY position, id")
    assert [row["id"] for row in added] == [row["id"] for row in history]


@pytest.mark.promise("webhooks")
async def test_no_event_is_missed_that_a_longer_transaction_wrote_before_one_that_was_told(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *EVENTS)
    await notifier.run()
    early, late = await events.mails(2)
    slow = await asyncpg.connect(events.clone.owner_url)
    async with slow.transaction():
        written_first = await events.tell("mail.sent", early, within=slow)
        committed_first = await events.tell("mail.sent", late)
        await notifier.run()
        assert subscriber.received == [], "the feed stops below a transaction that is writing"
    await slow.close()
    await notifier.run()
    # Of two mails: their events go out at the same time.
    assert sorted(subscriber.ids()) == sorted([str(written_first), str(committed_first)])


async def test_a_worker_that_lost_its_lease_settles_nothing(
    events: MailEvents, client: httpx.AsyncClient, make_notifier: MakeNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *EVENTS)
    (mail,) = await events.mails()
    await events.tell("mail.sent", mail)
    slow, other = make_notifier(), make_notifier()
    subscriber.answer_with = "hang"
    while await slow.notifier.run_once():
        pass
    await subscriber.until(1)
    await events.make_due()
    subscriber.answer_with = 200
    await other.run()
    (settled,) = await events.settled()
    subscriber.hang_up()
    await slow.notifier.drain(30)
    assert (slow.counts, other.counts) == ({"lease_lost": 1}, {"delivered": 1})
    assert await events.settled() == [settled]
    assert await events.waiting() == []


@pytest.mark.promise("webhooks")
async def test_a_delivery_that_another_worker_has_claimed_is_neither_settled_nor_put_back(
    events: MailEvents, client: httpx.AsyncClient
) -> None:
    subscriber = UUID((await subscribe(client, "http://127.0.0.1:9/", *EVENTS))["id"])
    (mail,) = await events.mails()
    entry = await events.tell("mail.sent", mail)
    for _ in range(2):
        await events.pool.fetch(queries.FEED, list(EVENTS), 10, 10, 10, 60.0, OLD_SECRET_SECONDS)
    slow, other = uuid7(), uuid7()
    assert await events.pool.fetch(queries.CLAIM_DUE, [subscriber], [10], 45.0, other)
    before = await events.waiting()
    verdict = [200], [None], [1]
    assert await events.pool.fetch(queries.SETTLE_IF_LEASED, slow, subscriber, [entry], ["delivered"], *verdict) == []
    assert await events.pool.fetchval(queries.RETRY_IF_LEASED, slow, subscriber, [entry], [0.0], *verdict) == 0
    assert await events.waiting() == before


async def test_what_a_killed_worker_had_claimed_is_delivered_by_the_next_under_the_same_id(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    (mail,) = await events.mails()
    entry = await events.tell("mail.sent", mail)
    later = await events.tell("mail.delivered", mail)
    for _ in range(2):
        await events.pool.fetch(queries.FEED, list(EVENTS), 10, 10, 10, 60.0, OLD_SECRET_SECONDS)
    (claimed,) = await events.pool.fetch(queries.CLAIM_DUE, [UUID(created["id"])], [10], 45.0, uuid7())
    assert claimed["id"] == entry
    await notifier.run()
    assert subscriber.received == [], "its lease still runs"
    await events.make_due()
    await notifier.run()
    assert subscriber.ids() == [str(entry), str(later)]


async def test_a_subscriber_that_is_down_fills_its_share_and_history_keeps_the_rest(
    events: MailEvents,
    client: httpx.AsyncClient,
    notifier: LoneNotifier,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "MAX_WAITING", 7)
    await subscribe(client, "http://127.0.0.1:9/", *EVENTS)
    await subscribe(client, subscriber.url, *EVENTS)
    told = await live_through(events, 6)
    for _ in range(20):
        await notifier.run()
    assert len(await events.waiting()) == 7
    assert of_each_mail(subscriber) == told, "others go on"


async def test_a_slow_subscriber_holds_up_no_other_and_has_one_batch_at_a_time(
    events: MailEvents,
    client: httpx.AsyncClient,
    make_notifier: MakeNotifier,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "_BATCH", 2)
    notifier = make_notifier()
    async with subscriber_stand_in() as slow:
        slow.answer_with = "hang"
        await subscribe(client, slow.url, *EVENTS)
        await subscribe(client, subscriber.url, *EVENTS)
        told = await live_through(events, 3)
        while of_each_mail(subscriber) != told:
            await notifier.notifier.run_once()
            if batches := list(notifier.notifier._busy.values()):
                await asyncio.wait(batches, return_when=asyncio.FIRST_COMPLETED)
        assert len(slow.received) == 2
        assert len([row for row in await events.waiting() if row["lease"]]) == 2
        slow.hang_up()
        await notifier.notifier.drain(30)
