"""The signup API and an import loop on a database of their own."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.app import create_app
from services.signup.imports.cleanup import ImportCleanup
from services.signup.imports.import_loop import ImportLoop
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.imports import Imports
from tests.support.signups import SignupLedger

SCOPES = ("users:import", "users:read", "audit:read")


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        import_max_bytes=400_000,
    )


@pytest.fixture
async def signup_api(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), signup_database.database) as api:
        yield api


@pytest.fixture
def ledger(signup_database: Clone, signup_settings: Settings) -> SignupLedger:
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    return SignupLedger(signup_database, ring, EffectPolicy.of(signup_settings, ring))


@pytest.fixture
async def client(signup_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await signup_api.as_client("acquirer", SCOPES) as http:
        yield http


@pytest.fixture
def imports(client: httpx.AsyncClient, ledger: SignupLedger) -> Imports:
    pool = ledger.pool
    return Imports(
        client,
        ImportLoop(pool, ledger.policy, on_mails_owed=lambda: None, batch_lines=20),
        ImportCleanup(pool, ledger.policy),
    )
