"""Both services in this process, each on a database of its own; signup calls the real mail API."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx
import pytest

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.app import create_app
from services.signup.audit.mail_service_view import MailServiceView
from services.signup.outbox.effects.mail import MailEffect
from services.signup.outbox.effects.statistics import StatsEffect
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from shared.worker.circuit_breaker import Breaker
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

AUDIT_SCOPES = ("audit:read", "audit:operate", "users:read", "signups:write")
MAIL_SCOPES = ("mails:send", "mails:read", "mails:operate", "audit:read", "audit:operate")
TOKEN_KEYS = "k" * 32


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys=TOKEN_KEYS,
        signup_effects="stats",
        signup_limit_per_ip="off",
        signup_mail_cooldown_seconds=0,
        mail_api_key="cf_of_signup",
    )


@pytest.fixture
def ledger(signup_database: Clone, signup_settings: Settings) -> SignupLedger:
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    return SignupLedger(signup_database, ring, EffectPolicy.of(signup_settings, ring))


@pytest.fixture
async def mail_api(mail_database: Clone, redis_url: str) -> AsyncIterator[Api]:
    settings = MailSettings(mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url)
    async with running(create_mail_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def signup_at_mail(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Signup's connection to the mail API."""
    async with await mail_api.as_client("signup", MAIL_SCOPES) as http:
        http.headers["Content-Type"] = "application/json"
        yield http


@pytest.fixture
async def signup_api(
    signup_settings: Settings, signup_database: Clone, signup_at_mail: httpx.AsyncClient
) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), signup_database.database) as api:
        await api.app.state.mail_service_view.close()
        api.app.state.mail_service_view = MailServiceView(signup_at_mail)
        yield api


@pytest.fixture
async def operator(signup_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await signup_api.as_client("operator", AUDIT_SCOPES) as http:
        yield http


@dataclass(frozen=True)
class Relays:
    """The worker's relays, run explicitly."""

    relays: Sequence[LoneRelay]

    async def run(self) -> None:
        for relay in self.relays:
            while await relay.run_once():
                pass


@pytest.fixture
def relays(signup_database: Clone, signup_at_mail: httpx.AsyncClient) -> Relays:
    pool, ring = signup_database.database.pool, TokenRing.from_setting(TOKEN_KEYS)
    effects = (MailEffect(signup_at_mail, ring, timeout_seconds=5), StatsEffect())
    return Relays(
        [LoneRelay(pool, effect, breaker=Breaker(effect.name), batch=50, lease_seconds=30) for effect in effects]
    )
