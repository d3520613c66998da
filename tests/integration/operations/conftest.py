"""Either API on its own database, which a test can put out of reach."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from fastapi import FastAPI

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.tcp_forwarder import Forwarder

UNREACHABLE_REDIS = "redis://127.0.0.1:1/0"


@dataclass(frozen=True)
class OfService:
    """An API, and the way to its database."""

    service: str
    api: Api
    database_door: Forwarder


def _make_app(service: str, database_url: str) -> FastAPI:
    if service == "mail":
        return create_mail_app(MailSettings(mail_runtime_database_url=database_url, redis_url=UNREACHABLE_REDIS))
    return create_signup_app(
        SignupSettings(
            signup_runtime_database_url=database_url, redis_url=UNREACHABLE_REDIS, signup_token_keys="k" * 32
        )
    )


@pytest.fixture
async def either(either_database: Clone) -> AsyncIterator[OfService]:
    """For rules that both services follow."""
    door = Forwarder(either_database.runtime_url)
    await door.open()
    service = either_database.owner_url.rpartition("/")[2].partition("_")[0]
    async with running(_make_app(service, door.url), either_database.database) as api:
        yield OfService(service, api, door)
    await door.shut()
