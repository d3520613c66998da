"""The mail API that accepts the events of every provider, one for each module, and mails that these may be about."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from services.mail.app import create_app
from services.mail.settings import Settings
from shared.db.pool import DatabaseOptions, open_database
from tests.integration.mail.conftest import ALL_SCOPES
from tests.integration.mail.test_interventions import MAIL
from tests.support.apis import Api, running
from tests.support.databases import Server
from tests.support.provider_events import Call
from tests.support.provider_events.amazon import Amazon
from tests.support.provider_events.stand_ins import providers

Post: TypeAlias = Callable[[str, Call], Awaitable[httpx.Response]]
NewMail: TypeAlias = Callable[[str], Awaitable[str]]

# Puts one mail into a state, with the rows that delivery would write.
_SET_STATE = """
WITH dequeued AS (DELETE FROM queue WHERE mail_id = $2 AND $1 <> 'sending'),
     held AS (UPDATE queue SET lease = gen_random_uuid() WHERE mail_id = $2 AND $1 = 'sending'),
     tried AS (
         INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, transmitting_at, ended_at)
         SELECT $2, 1, gen_random_uuid(), 'ended', 'unknown', true, now() - interval '1 hour', now()
         WHERE $1 = 'uncertain'
     )
UPDATE mails SET state = $1, failure_reason = CASE WHEN $1 = 'uncertain' THEN 'why' END,
    sent_at = CASE WHEN $1 = 'sent' THEN now() END,
    next_attempt_at = CASE WHEN $1 = 'sending' THEN now() END
WHERE id = $2
"""


@pytest.fixture(scope="module")
def amazon() -> Amazon:
    amazon = providers()["ses"]
    assert isinstance(amazon, Amazon)
    return amazon


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(postgres_server: Server, valkey_url: str, amazon: Amazon) -> AsyncIterator[Api]:
    """All tests of a module share it, so each looks only at what it made."""
    name = await postgres_server.clone("mail")
    settings = Settings(
        mail_runtime_database_url=postgres_server.url(name, "mail_app"),
        redis_url=valkey_url,
        mail_provider_events=",".join(provider.setting for provider in providers().values()),
    )
    database = await open_database(DatabaseOptions(settings.mail_runtime_database_url, "test"))
    try:
        async with running(create_app(settings, fetch=amazon.fetch), database) as api:
            yield api
    finally:
        await database.close()
        await postgres_server.drop(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await api.as_client("shop", (*ALL_SCOPES, "mails:all")) as http:
        yield http


@pytest.fixture
def post(api: Api) -> Post:
    """Posts a provider's call, without a key."""

    async def post_call(provider: str, call: Call) -> httpx.Response:
        return await api.http.post(f"/v1/events/{provider}", content=call.body, headers=call.headers)

    return post_call


@pytest.fixture
def new_mail(api: Api, client: httpx.AsyncClient) -> NewMail:
    """Makes a mail to an address of its own, in this state, and gives its ID."""

    async def make(state: str) -> str:
        name = uuid4().hex
        body: dict[str, Any] = MAIL | {"request_id": name, "to": {"email": f"{name}@x.example"}}
        mail_id = str((await client.post("/v1/mails", json=body)).json()["id"])
        await set_state(api, mail_id, state)
        return mail_id

    return make


async def set_state(api: Api, mail_id: str, state: str) -> None:
    await api.database.pool.execute(_SET_STATE, state, mail_id)


async def stored(api: Api, mail_id: str) -> int:
    """The number of notices about a mail that were kept."""
    count: int = await api.database.pool.fetchval("SELECT count(*) FROM bounces WHERE mail_id = $1", UUID(mail_id))
    return count
