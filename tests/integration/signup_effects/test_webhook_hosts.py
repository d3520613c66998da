"""Which webhook hosts are accepted when private addresses are not allowed."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.signup.app import create_app
from services.signup.settings import Settings
from tests.support.apis import running
from tests.support.databases import Clone


@pytest.fixture
async def guarded(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[httpx.AsyncClient]:
    settings = signup_settings.model_copy(update={"signup_webhook_allow_private": False})
    async with (
        running(create_app(settings), signup_database.database) as api,
        await api.as_client("shop", ["webhooks:manage"]) as http,
    ):
        yield http


async def test_only_https_at_a_public_host_is_accepted(guarded: httpx.AsyncClient) -> None:
    statuses = {
        url: (await guarded.post("/v1/webhooks", json={"url": url, "events": ["user.verified"]})).status_code
        for url in (
            "https://hooks.example/",
            "https://8.8.8.8/",
            "http://hooks.example/",
            "https://127.0.0.1/",
            "https://10.1.2.3/",
            "https://169.254.169.254/latest",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fec0::1]/",
            "https://[fd00::1]/",
            "https://[fe80::1%25eth0]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[2002:a00:1::1]/",
            "https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/",
            "https://localhost/",
            "https://2130706433/",
        )
    }
    assert [url for url, status in statuses.items() if status == 201] == ["https://hooks.example/", "https://8.8.8.8/"]
    assert set(statuses.values()) == {201, 422}
