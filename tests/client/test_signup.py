"""The client against the real signup service: every call can be repeated, and nothing is done twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from counterfoil_client import AsyncSignup, errors
from services.signup.app import create_app
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from shared.db.pool import DatabaseOptions, open_database
from tests.support.apis import Api, running
from tests.support.databases import Server

from .conftest import QUICK

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN_KEYS = "k" * 32


class LosesAnswers(httpx.AsyncBaseTransport):
    """Carries out a request, and loses the answers of the next `count`."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if self.count:
            self.count -= 1
            raise httpx.ReadError("connection reset", request=request)
        return response


@dataclass
class SignupService:
    api: Api
    network: LosesAnswers

    async def keyed(self) -> AsyncSignup:
        headers = await self.api.key("shop", "signups:write", "users:read", "users:erase")
        return self._client(headers["Authorization"].removeprefix("Bearer "))

    def anonymous(self) -> AsyncSignup:
        return self._client(None)

    def _client(self, key: str | None) -> AsyncSignup:
        return AsyncSignup("http://signup", api_key=key, transport=self.network, retry=QUICK)

    async def owed(self, email: str) -> list[UUID]:
        """The IDs of the mails owed to an address."""
        query = "SELECT o.id FROM outbox o JOIN users u ON u.id = o.user_id WHERE u.email = $1 AND effect = 'mail'"
        return [row["id"] for row in await self.api.database.pool.fetch(query, email)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signup_service(postgres_server: Server, valkey_url: str) -> AsyncIterator[SignupService]:
    name = await postgres_server.clone("signup")
    url = postgres_server.url(name, "signup_app")
    database = await open_database(DatabaseOptions(url, "test"))
    settings = Settings(
        signup_runtime_database_url=url,
        redis_url=valkey_url,
        signup_token_keys=TOKEN_KEYS,
        signup_public_url="https://signup.example",
        signup_effects="",
        signup_limit_per_ip="off",
        mail_api_key="cf_of_signup",
    )
    async with running(create_app(settings), database) as api:
        yield SignupService(api, LosesAnswers(httpx.ASGITransport(api.app)))
    await database.close()
    await postgres_server.drop(name)


@pytest.fixture
def email() -> str:
    return f"{uuid4().hex}@x.example"


async def test_a_keyed_signup_whose_answer_is_lost_gets_the_first_answer(
    signup_service: SignupService, email: str
) -> None:
    async with await signup_service.keyed() as signup:
        signup_service.network.count = 2
        done = await signup.sign_up(email=email, name="Ada", locale="de", metadata={"plan": "a"})
        assert (done.created, done.replayed) == (True, True)
        assert done.user is not None
        assert (done.user.email, done.user.locale, done.user.metadata) == (email, "de", {"plan": "a"})
        assert await signup.user(done.user.id) == done.user
    assert len(await signup_service.owed(email)) == 1


async def test_the_callers_own_key_gives_the_same_answer_in_a_later_call(
    signup_service: SignupService, email: str
) -> None:
    async with await signup_service.keyed() as signup:
        first = await signup.sign_up(email=email, name="Ada", idempotency_key=f"form-{email}")
        again = await signup.sign_up(email=email, name="Ada", idempotency_key=f"form-{email}")
        assert (first.created, again.created, again.replayed) == (True, True, True)
        assert first.user == again.user
        with pytest.raises(errors.RequestIdReused) as caught:
            await signup.sign_up(email=email, name="Eve", idempotency_key=f"form-{email}")
        assert caught.value.fields == ("/name",)


async def test_without_a_key_a_lost_answer_is_asked_for_again_and_one_mail_is_owed(
    signup_service: SignupService, email: str
) -> None:
    async with signup_service.anonymous() as signup:
        signup_service.network.count = 2
        done = await signup.sign_up(email=email, name="Ada")
        assert (done.user, done.created) == (None, False)
        signup_service.network.count = 1
        await signup.resend(email=email)
    assert len(await signup_service.owed(email)) == 1


async def test_bad_input_is_refused_by_field_without_a_second_attempt(signup_service: SignupService) -> None:
    async with signup_service.anonymous() as signup:
        with pytest.raises(errors.InvalidRequest) as caught:
            await signup.sign_up(email="no-at-sign", name="Ada")
        assert caught.value.fields == ("/email",)
        with pytest.raises(errors.BadRequestId):
            await signup.sign_up(email="a@x.example", name="Ada", idempotency_key="ordér")
        misspelt: Any = {"local": "de"}
        with pytest.raises(TypeError, match="local"):
            await signup.sign_up(email="a@x.example", name="Ada", **misspelt)


async def test_an_address_is_verified_once_and_again_without_harm(signup_service: SignupService, email: str) -> None:
    async with await signup_service.keyed() as signup:
        done = await signup.sign_up(email=email, name="Ada")
        assert done.user is not None
        (outbox_id,) = await signup_service.owed(email)
        ring = TokenRing.from_setting(TOKEN_KEYS)
        token = ring.sign(outbox_id, next(iter(ring.keys)))
        with pytest.raises(errors.TokenUnknown):
            await signup.verify("no-token")
        assert await signup.verify(token) == "verified"
        assert await signup.verify(token) == "already_verified"
        with pytest.raises(errors.AlreadyVerified):
            await signup.sign_up(email=email, name="Ada")
        signup_service.network.count = 1
        await signup.erase(done.user.id)
        with pytest.raises(errors.UserErased):
            await signup.user(done.user.id)


async def test_a_challenge_survives_a_lost_answer_because_its_signup_has_a_key() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx.ReadError("lost", request=request)
        return httpx.Response(202, json={"status": "accepted"})

    async with AsyncSignup("http://s", transport=httpx.MockTransport(answer), retry=QUICK) as signup:
        await signup.sign_up(email="a@x.example", name="Ada", challenge="solved")
        await signup.sign_up(email="a@x.example", name="Ada")
        first, second, without = (request.headers.get("Idempotency-Key") for request in seen)
        assert first == second is not None
        assert without is None
        seen.clear()
        with pytest.raises(errors.LostAnswer):  # the solution may be used up
            await signup.resend(email="a@x.example", challenge="solved")
