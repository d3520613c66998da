"""Whose product it is: in the mail that is owed, and on the way back from the page."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.signup.app import create_app
from services.signup.settings import Settings
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mail_stand_in import MailStandIn
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

ASA = {"email": "asa@example.org", "name": "Åsa"}
BRAND = {
    "product_name": "Acme",
    "product_address": "1 Main Street",
    "support_email": "help@acme.example",
    "logo_url": "https://acme.example/logo.png",
    "accent_color": "#7a1fa2",
}


@pytest.fixture
def signup_settings(signup_settings: Settings) -> Settings:
    named = {f"signup_{name}": value for name, value in BRAND.items()}
    return signup_settings.model_copy(update=named | {"signup_return_urls": "https://acme.example/app"})


@pytest.fixture
async def api(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), signup_database.database) as api:
        yield api


async def _press(api: Api, ledger: SignupLedger) -> httpx.Response:
    return await api.http.post(f"/verify/{await ledger.token(ASA['email'])}")


async def test_every_mail_carries_the_product_as_variables_pinned_in_its_row(
    api: Api, ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await api.http.post("/v1/signups", json=ASA)
    await _press(api, ledger)
    await ledger.let_the_cooldown_pass()
    await api.http.post("/v1/signups", json=ASA)
    rows = await ledger.rows("outbox", effect="mail")
    assert [row["payload"]["template"] for row in rows] == ["verification", "welcome", "already-registered"]
    assert all(row["payload"]["brand"] == BRAND for row in rows)
    await relay.run_once()
    (mails,) = [call["mails"] for call in mail_api.requests]
    assert len(mails) == 3
    for request in mails:
        assert BRAND.items() <= request["variables"].items()


async def test_the_page_leads_back_to_where_the_signup_said(api: Api, ledger: SignupLedger) -> None:
    await api.http.post("/v1/signups", json=ASA | {"return_to": "https://acme.example/app/basket?id=7"})
    for _ in range(2):
        assert 'href="https://acme.example/app/basket?id=7"' in (await _press(api, ledger)).text


async def test_without_such_a_page_it_leads_to_the_first_one_that_is_allowed(api: Api, ledger: SignupLedger) -> None:
    await api.http.post("/v1/signups", json=ASA)
    assert 'href="https://acme.example/app"' in (await _press(api, ledger)).text


async def test_a_page_that_is_no_longer_allowed_is_not_led_to(api: Api, ledger: SignupLedger) -> None:
    await api.http.post("/v1/signups", json=ASA)
    await ledger.run('UPDATE outbox SET payload = payload || \'{"return_to": "https://old.example/"}\'')
    assert 'href="https://acme.example/app"' in (await _press(api, ledger)).text


async def test_a_page_that_is_not_allowed_is_refused_by_its_field_and_signs_no_person_up(
    api: Api, ledger: SignupLedger
) -> None:
    refused = await api.http.post("/v1/signups", json=ASA | {"return_to": "https://evil.example/"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/return_to"
    assert await ledger.rows("users") == []


async def test_the_same_idempotency_key_with_another_page_is_another_request(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    first = await api.http.post("/v1/signups", json=ASA | {"return_to": "https://acme.example/app/a"}, headers=key)
    other = await api.http.post("/v1/signups", json=ASA | {"return_to": "https://acme.example/app/b"}, headers=key)
    none = await api.http.post("/v1/signups", json=ASA, headers=key)
    assert (first.status_code, other.status_code, none.status_code) == (202, 422, 422)
    assert (
        other.json()["errors"]
        == none.json()["errors"]
        == [{"pointer": "/return_to", "detail": "Differs from the first request"}]
    )
