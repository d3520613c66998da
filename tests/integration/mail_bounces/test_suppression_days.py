"""How long a bounce or a complaint suppresses an address."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.integration.mail.conftest import ALL_SCOPES
from tests.integration.mail.test_interventions import MAIL, SET_STATE
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.notices import complaint, quoted_header, report

RFC822 = {"Content-Type": "message/rfc822"}


@pytest.fixture
def days() -> int:
    return 7


@pytest.fixture
async def mail_api(mail_database: Clone, redis_url: str, days: int) -> AsyncIterator[Api]:
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url, mail_suppression_days=days
    )
    async with running(create_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def client(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await mail_api.as_client("shop", ALL_SCOPES) as http:
        yield http


async def sent_mail(api: Api, client: httpx.AsyncClient, name: str) -> str:
    """A sent mail, as a notice quotes it."""
    mail = (await client.post("/v1/mails", json=MAIL | {"request_id": name})).json()
    await api.database.pool.execute(SET_STATE, "sent")
    return quoted_header(mail["id"])


async def post(client: httpx.AsyncClient, notice: bytes) -> dict[str, Any]:
    assert (await client.post("/v1/bounces", content=notice, headers=RFC822)).status_code == 202
    (suppression,) = (await client.get("/v1/suppressions")).json()["items"]
    shown: dict[str, Any] = suppression
    return shown


async def test_a_bounce_suppresses_for_the_configured_days(mail_api: Api, client: httpx.AsyncClient) -> None:
    suppression = await post(client, report(await sent_mail(mail_api, client, "one")))
    lasts = datetime.fromisoformat(suppression["ends_at"]) - datetime.fromisoformat(suppression["created_at"])
    assert (suppression["source"], lasts) == ("bounce", timedelta(days=7))


@pytest.mark.parametrize("days", [0])
async def test_with_zero_days_a_bounce_suppresses_for_good(mail_api: Api, client: httpx.AsyncClient, days: int) -> None:
    assert days == 0
    suppression = await post(client, report(await sent_mail(mail_api, client, "one")))
    assert (suppression["source"], suppression["ends_at"]) == ("bounce", None)


async def test_a_complaint_suppresses_for_good_and_takes_the_place_of_a_bounce(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    first, second = [await sent_mail(mail_api, client, name) for name in ("one", "two")]
    assert (await post(client, report(first)))["source"] == "bounce"
    suppression = await post(client, complaint(second))
    assert (suppression["source"], suppression["ends_at"]) == ("complaint", None)


async def test_a_bounce_after_the_end_suppresses_again_and_one_before_changes_nothing(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    first, second, third = [await sent_mail(mail_api, client, name) for name in ("one", "two", "three")]
    before = await post(client, report(first))
    assert await post(client, report(second)) == before
    await mail_api.database.pool.execute("UPDATE suppressions SET ends_at = now()")
    assert (await client.get("/v1/suppressions")).json()["items"] == []
    assert (await post(client, report(third)))["mail_id"] != before["mail_id"]
