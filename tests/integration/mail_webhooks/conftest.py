"""The mail API with webhooks, and workers' notifiers that tests run step by step."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mail_events import MailEvents
from tests.support.notifiers import LoneNotifier
from tests.support.subscriber import SubscriberStandIn, subscriber_stand_in

SCOPES = ("mails:send", "mails:read", "mails:operate", "audit:read", "webhooks:manage")


@pytest.fixture
def mail_settings(mail_database: Clone, redis_url: str) -> Settings:
    return Settings(
        mail_runtime_database_url=mail_database.runtime_url,
        redis_url=redis_url,
        mail_webhook_keys="k" * 32,
        mail_webhook_allow_private=True,
        mail_webhook_timeout_seconds=30,
    )


@pytest.fixture
async def mail_api(mail_settings: Settings, mail_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(mail_settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def client(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The client that owns the mails of `events`."""
    async with await mail_api.as_client("tests", SCOPES) as http:
        yield http


@pytest.fixture
def events(mail_database: Clone) -> MailEvents:
    return MailEvents(mail_database)


@pytest.fixture
async def make_notifier(mail_database: Clone, mail_settings: Settings) -> AsyncIterator[Callable[..., LoneNotifier]]:
    """A worker's notifier, with these settings."""
    made: list[LoneNotifier] = []

    def make(**settings: object) -> LoneNotifier:
        made.append(LoneNotifier(mail_database.database.pool, mail_settings.model_copy(update=settings)))
        return made[-1]

    yield make
    for notifier in made:
        await notifier.close()


@pytest.fixture
def notifier(make_notifier: Callable[..., LoneNotifier]) -> LoneNotifier:
    return make_notifier()


@pytest.fixture
async def subscriber() -> AsyncIterator[SubscriberStandIn]:
    async with subscriber_stand_in() as stand_in:
        yield stand_in
