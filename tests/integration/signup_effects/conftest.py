"""The signup API with every effect on, and relays that tests run step by step."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.app import create_app
from services.signup.outbox.effect_registry import EFFECTS, Effect, EffectContext
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from shared.worker.circuit_breaker import Breaker, BreakerPolicy
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.subscriber import SubscriberStandIn, subscriber_stand_in

SCOPES = ("signups:write", "users:read", "users:erase", "stats:read", "audit:read", "webhooks:manage")


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        signup_limit_per_ip="off",
        signup_webhook_allow_private=True,
        signup_webhook_timeout_seconds=30,
        mail_url="http://127.0.0.1:9",  # no server listens on this port
    )


@pytest.fixture
async def signup_api(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), signup_database.database) as api:
        yield api


@pytest.fixture
async def client(signup_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a key."""
    async with await signup_api.as_client("shop", SCOPES) as http:
        yield http


@pytest.fixture
def ledger(signup_database: Clone, signup_settings: Settings) -> SignupLedger:
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    return SignupLedger(signup_database, ring, EffectPolicy.of(signup_settings, ring))


@pytest.fixture
async def relay_for(signup_database: Clone, signup_settings: Settings) -> AsyncIterator[Callable[..., LoneRelay]]:
    """A relay for an effect of the registry; its breaker opens after two faults and probes at once."""
    effects: list[Effect] = []

    def make(name: str, **settings: object) -> LoneRelay:
        changed = signup_settings.model_copy(update=settings)
        ring = TokenRing.from_setting(changed.signup_token_keys)
        effect = EFFECTS[name].connect(EffectContext(changed, ring, signup_database.database.pool))
        effects.append(effect)
        breaker = Breaker(name, BreakerPolicy(faults_to_open=2, first_probe_seconds=0))
        return LoneRelay(signup_database.database.pool, effect, breaker=breaker, batch=100, lease_seconds=30)

    yield make
    for effect in effects:
        await effect.close()


@pytest.fixture
async def subscriber() -> AsyncIterator[SubscriberStandIn]:
    async with subscriber_stand_in() as stand_in:
        yield stand_in
