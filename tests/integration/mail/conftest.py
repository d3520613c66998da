"""The mail API on a database of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.support.apis import Api, running
from tests.support.databases import Clone

ALL_SCOPES = ("mails:send", "mails:read", "mails:operate", "audit:read", "audit:operate")


@pytest.fixture
async def mail_api(mail_database: Clone, redis_url: str) -> AsyncIterator[Api]:
    settings = Settings(mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url)
    async with running(create_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def client(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the mail service with every scope but `mails:all`."""
    async with await mail_api.as_client("shop", ALL_SCOPES) as http:
        yield http
