"""The signup API on a database of its own."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.app import create_app
from services.signup.outbox.effects.mail import MailEffect
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from shared.observability.spans import OFF, Tracing
from shared.worker.circuit_breaker import Breaker, BreakerPolicy
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mail_stand_in import MailStandIn, mail_stand_in
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

ALL_SCOPES = ("signups:write", "users:read", "audit:read")


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        signup_public_url="https://signup.example",
        signup_effects="",
        signup_limit_per_ip="off",
        mail_api_key="cf_of_signup",
    )


@pytest.fixture
async def signup_api(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), signup_database.database) as api:
        yield api


@pytest.fixture
async def client(signup_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key."""
    async with await signup_api.as_client("shop", ALL_SCOPES) as http:
        yield http


@pytest.fixture
def ledger(signup_database: Clone, signup_settings: Settings) -> SignupLedger:
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    return SignupLedger(signup_database, ring, EffectPolicy.of(signup_settings, ring))


@pytest.fixture
async def mail_api() -> AsyncIterator[MailStandIn]:
    async with mail_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
async def make_relay(
    signup_database: Clone, signup_settings: Settings, mail_api: MailStandIn
) -> AsyncIterator[Callable[..., LoneRelay]]:
    """Relays that call the stand-in. Their breaker opens after two faults and probes at once."""
    effects = []

    def make(
        *, batch: int = 200, lease_seconds: float = 30, token_keys: str = "k" * 32, tracing: Tracing = OFF
    ) -> LoneRelay:
        settings = signup_settings.model_copy(update={"mail_url": mail_api.url, "mail_timeout_seconds": 0.2})
        effect = MailEffect.connect(settings, TokenRing.from_setting(token_keys), tracing)
        effects.append(effect)
        breaker = Breaker("mail", BreakerPolicy(faults_to_open=2, first_probe_seconds=0))
        pool = signup_database.database.pool
        return LoneRelay(pool, effect, breaker=breaker, batch=batch, lease_seconds=lease_seconds, tracing=tracing)

    yield make
    for effect in effects:
        await effect.close()


@pytest.fixture
def relay(make_relay: Callable[..., LoneRelay]) -> LoneRelay:
    return make_relay()
