"""Both services' ledgers, with the real mail API between them."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings as MailSettings
from services.signup.accounts.effect_policy import EffectPolicy
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from tests.support.apis import running
from tests.support.databases import Clone
from tests.support.reconciliation_lab import Laboratory


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        reconcile_lag_seconds=0,
    )


@pytest.fixture
async def lab(
    signup_database: Clone, mail_database: Clone, redis_url: str, signup_settings: Settings
) -> AsyncIterator[Laboratory]:
    settings = MailSettings(mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url)
    ring = TokenRing.from_setting(signup_settings.signup_token_keys)
    async with running(create_app(settings), mail_database.database) as api:
        headers = await api.key("signup", "mails:send", "mails:read", "mails:operate")
        headers["Content-Type"] = "application/json"
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://mail", headers=headers) as http:
            yield Laboratory(signup_database, mail_database, http, ring, EffectPolicy.of(signup_settings, ring))
