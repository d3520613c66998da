"""The example of an outbox, in a SQLAlchemy application on PostgreSQL, with the real mail service."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from counterfoil_client import AsyncMail, Retry, errors
from examples.outbox import Model, Order, OwedMail, place_order, relay_once
from tests.support.databases import Server

from .conftest import MailService

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(postgres_server: Server) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """The application's own database."""
    name = f"shop_{uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres_server.superuser_url)
    await server.execute(f'CREATE DATABASE "{name}"')
    await server.close()
    address = postgres_server.superuser_url.rpartition("/")[0].partition("://")[2]
    engine = create_async_engine(f"postgresql+asyncpg://{address}/{name}")
    async with engine.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)
    yield async_sessionmaker(engine)
    await engine.dispose()
    await postgres_server.drop(name)


async def _order(shop: async_sessionmaker[AsyncSession], *emails: str) -> None:
    async with shop.begin() as session:
        for email in emails:
            place_order(session, email)


async def _owed(shop: async_sessionmaker[AsyncSession]) -> list[str | None]:
    """For each owed mail, why it was refused."""
    async with shop() as session:
        return list((await session.scalars(select(OwedMail.refused))).all())


async def test_an_order_that_fails_owes_no_mail(shop: async_sessionmaker[AsyncSession]) -> None:
    async with shop() as session:
        place_order(session, "fails@x.example")
        await session.flush()
        await session.rollback()
    async with shop() as session:
        assert await session.scalar(select(func.count()).select_from(Order)) == 0
    assert await _owed(shop) == []


async def test_several_relays_ask_for_each_mail_once(
    shop: async_sessionmaker[AsyncSession], real_service: MailService
) -> None:
    emails = [f"order-{n}@x.example" for n in range(250)]
    await _order(shop, *emails)
    async with real_service.client() as mail:
        asked = await asyncio.gather(*(relay_once(shop, mail) for _ in range(4)))
        assert (sum(asked), await _owed(shop), await relay_once(shop, mail)) == (250, [], 0)
        mailed = [each.to_email async for each in mail.mails()]
        assert (len(mailed), set(mailed)) == (250, set(emails))


async def test_a_relay_that_ends_before_it_settles_sends_nothing_twice(
    shop: async_sessionmaker[AsyncSession], real_service: MailService
) -> None:
    class LosesEveryAnswer(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await real_service.transport.handle_async_request(request)
            raise httpx.ReadError("connection reset", request=request)

    await _order(shop, "one@x.example", "two@x.example")
    key = await real_service.key_of(f"client-{uuid4()}")
    retry = Retry(deadline_seconds=0.05, base_seconds=0.01)
    async with AsyncMail("http://mail", api_key=key, transport=LosesEveryAnswer(), retry=retry) as unlucky:
        with pytest.raises(errors.DeadlineExceeded):
            await relay_once(shop, unlucky)
    assert await _owed(shop) == [None, None]
    async with AsyncMail("http://mail", api_key=key, transport=real_service.transport) as mail:
        assert await relay_once(shop, mail) == 0  # leased
        async with shop.begin() as session:
            await session.execute(update(OwedMail).values(due_at=func.now()))
        assert await relay_once(shop, mail) == 2
        mailed = [each.to_email async for each in mail.mails()]
        assert (len(mailed), set(mailed)) == (2, {"one@x.example", "two@x.example"})
    assert await _owed(shop) == []


async def test_a_refused_mail_stays_with_the_reason_and_holds_up_no_other(
    shop: async_sessionmaker[AsyncSession], real_service: MailService
) -> None:
    await _order(shop, "no-at-sign", "good@x.example")
    async with real_service.client() as mail:
        assert await relay_once(shop, mail) == 2
        assert [each.to_email async for each in mail.mails()] == ["good@x.example"]
        (reason,) = await _owed(shop)
        assert (reason or "").startswith("422 invalid-request: /to/email")
        assert await relay_once(shop, mail) == 0
