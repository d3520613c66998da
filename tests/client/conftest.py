"""Mail services that keep the contract: the real one on a database of its own, and the fake of the pytest plugin."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from counterfoil_client import AsyncMail, Retry
from counterfoil_client.testing import FakeMailService, FakeTemplate
from services.mail.app import create_app
from services.mail.settings import Settings
from shared.db.pool import Database, DatabaseOptions, open_database
from tests.support.apis import Api, running
from tests.support.databases import Server
from tests.support.delivery import make_rig
from tests.support.memory_gateway import MemoryGateway

SCOPES = ("mails:send", "mails:read", "mails:operate")
QUICK = Retry(base_seconds=0.001, cap_seconds=0.01)
# As the shipped templates are declared.
_LOOKS = ("product_name", "product_address", "support_email", "logo_url", "accent_color")
TEMPLATES = {"welcome": FakeTemplate(required=("name",), optional=_LOOKS)}


@dataclass(frozen=True)
class MailService:
    """`key_of` makes the key of a client; `deliver` sends what waits."""

    transport: httpx.AsyncBaseTransport
    key_of: Callable[[str], Awaitable[str]]
    deliver: Callable[[], Awaitable[object]]

    @asynccontextmanager
    async def client(self, name: str | None = None) -> AsyncIterator[AsyncMail]:
        """A client with no mails yet, unless it is named again."""
        key = await self.key_of(name or f"client-{uuid4()}")
        async with AsyncMail("http://mail", api_key=key, transport=self.transport, retry=QUICK) as mail:
            yield mail

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        """For what `AsyncMail` refuses to send."""
        headers = {"Authorization": f"Bearer {await self.key_of(f'client-{uuid4()}')}"}
        async with httpx.AsyncClient(transport=self.transport, base_url="http://mail", headers=headers) as http:
            yield http


async def _deliver(database: Database) -> None:
    rig = make_rig(database.pool, [MemoryGateway()])
    await rig.deliver()
    await rig.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_service(postgres_server: Server, valkey_url: str) -> AsyncIterator[MailService]:
    name = await postgres_server.clone("mail")
    url = postgres_server.url(name, "mail_app")
    database = await open_database(DatabaseOptions(url, "test"))
    settings = Settings(mail_runtime_database_url=url, redis_url=valkey_url, mail_from="Shop <shop@x.example>")
    async with running(create_app(settings), database) as api:
        yield MailService(httpx.ASGITransport(api.app), _keys_of(api), lambda: _deliver(database))
    await database.close()
    await postgres_server.drop(name)


def _keys_of(api: Api) -> Callable[[str], Awaitable[str]]:
    async def key_of(client: str) -> str:
        headers = await api.key(client, *SCOPES)
        return headers["Authorization"].removeprefix("Bearer ")

    return key_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake_service() -> AsyncIterator[MailService]:
    async def key_of(client: str) -> str:
        return fake.api_key(client)

    async def deliver() -> None:
        fake.deliver()

    with FakeMailService(TEMPLATES) as fake:
        yield MailService(fake.transport(), key_of, deliver)


@pytest.fixture(params=["real", "fake"])
def service(request: pytest.FixtureRequest, real_service: MailService, fake_service: MailService) -> MailService:
    """For what both must do alike."""
    return real_service if request.param == "real" else fake_service
