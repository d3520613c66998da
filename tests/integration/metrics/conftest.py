"""Both APIs, each on its own database, without workers."""

from collections.abc import AsyncIterator

import pytest

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings
from services.signup.verification_token import TokenRing
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.signups import SignupLedger

UNREACHABLE_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def signup_settings(signup_database: Clone) -> SignupSettings:
    return SignupSettings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=UNREACHABLE_REDIS,
        signup_token_keys="k" * 32,
        signup_limit_per_ip="off",
    )


@pytest.fixture
async def signup_api(signup_settings: SignupSettings, signup_database: Clone) -> AsyncIterator[Api]:
    async with running(create_signup_app(signup_settings), signup_database.database) as api:
        yield api


@pytest.fixture
def ledger(signup_database: Clone, signup_settings: SignupSettings) -> SignupLedger:
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    return SignupLedger(signup_database, ring, EffectPolicy.of(signup_settings, ring))


@pytest.fixture
async def mail_api(mail_database: Clone) -> AsyncIterator[Api]:
    settings = MailSettings(mail_runtime_database_url=mail_database.runtime_url, redis_url=UNREACHABLE_REDIS)
    async with running(create_mail_app(settings), mail_database.database) as api:
        yield api
