"""How often anonymous clients may write."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from services.signup.app import create_app
from services.signup.settings import Settings
from shared.contract.configuration import ConfigurationError
from shared.worker.circuit_breaker import BreakerState
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.listener import listening

Limited = Callable[..., AbstractAsyncContextManager[Api]]
ASA = {"email": "asa@example.org", "name": "Asa"}


@pytest.fixture
async def limited(signup_settings: Settings, signup_database: Clone) -> Limited:
    @asynccontextmanager
    async def start(**settings: object) -> AsyncIterator[Api]:
        changed = signup_settings.model_copy(update={"signup_limit_per_ip": "3/minute"} | settings)
        async with running(create_app(changed), signup_database.database) as api:
            if (limit := api.app.state.signup.limit) and changed.redis_url == signup_settings.redis_url:
                limit._timeout_seconds = 30  # a slow machine must not let requests through
            yield api

    return start


async def test_a_request_over_the_limit_is_refused_with_a_retry_after(limited: Limited) -> None:
    async with limited() as api:
        answers = [await api.http.post("/v1/signups", json=ASA) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    refused = answers[-1]
    assert refused.json()["type"] == "/problems/rate-limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["ratelimit-policy"] == '"address";q=3;w=60'
    assert refused.headers["ratelimit"] == f'"address";r=0;t={refused.headers["retry-after"]}'


async def test_all_anonymous_writes_share_one_limit_and_reads_are_not_counted(limited: Limited) -> None:
    async with limited(signup_limit_per_ip="4/minute") as api:
        assert (await api.http.post("/v1/signups", json=ASA)).status_code == 202
        assert (await api.http.post("/v1/verifications", json={"token": "x"})).status_code == 404
        assert (await api.http.post("/v1/verifications/resend", json={"email": "a@example.org"})).status_code == 202
        assert (await api.http.post("/verify/x")).status_code == 404
        for path, body in (
            ("/v1/signups", ASA),
            ("/v1/verifications", {"token": "x"}),
            ("/v1/verifications/resend", {"email": "a@example.org"}),
            ("/verify/x", None),
        ):
            assert (await api.http.post(path, json=body)).status_code == 429
        assert (await api.http.get("/verify/x")).status_code == 200


async def test_a_user_who_presses_the_button_too_often_sees_a_page(limited: Limited) -> None:
    async with limited(signup_limit_per_ip="1/minute") as api:
        assert (await api.http.post("/verify/x")).status_code == 404
        refused = await api.http.post("/verify/x")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "Too many attempts" in refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["referrer-policy"] == "no-referrer"


async def test_a_keyed_client_is_never_refused(limited: Limited) -> None:
    async with limited() as api:
        key = await api.key("shop", "signups:write")
        answers = [await api.http.post("/v1/signups", json=ASA, headers=key) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200, 201}


@pytest.mark.promise("P2")
async def test_without_valkey_all_requests_pass_and_valkey_is_not_called_again(limited: Limited) -> None:
    async with limited(redis_url="redis://127.0.0.1:9/0") as api:
        answers = [await api.http.post("/v1/signups", json=ASA) for _ in range(6)]
        assert api.app.state.signup.limit.breaker.state is BreakerState.OPEN
    assert {answer.status_code for answer in answers} == {202}


@pytest.mark.promise("P2")
async def test_a_valkey_that_does_not_answer_delays_no_request_for_long(limited: Limited) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port, limited(redis_url=f"redis://127.0.0.1:{port}/0") as api:
        answers = [await api.http.post("/v1/signups", json=ASA) for _ in range(6)]
        breaker = api.app.state.signup.limit.breaker
        assert breaker.state is BreakerState.OPEN
    assert {answer.status_code for answer in answers} == {202}


@pytest.mark.parametrize(("trusted", "separate"), [("127.0.0.0/8", True), ("", False)])
async def test_a_forwarded_address_counts_only_when_a_trusted_proxy_says_so(
    limited: Limited, trusted: str, separate: bool
) -> None:
    async with limited(signup_limit_per_ip="1/minute", signup_trusted_proxies=trusted) as api:
        answers = [
            await api.http.post("/v1/signups", json=ASA, headers={"X-Forwarded-For": f"203.0.113.{n}"})
            for n in range(3)
        ]
    assert [answer.status_code for answer in answers] == ([202] * 3 if separate else [202, 429, 429])


@pytest.mark.parametrize(
    "addresses",
    [
        ("203.0.113.1", "::ffff:203.0.113.1", "[::ffff:203.0.113.1]:4711"),
        ("2001:db8:1:2::3", "2001:DB8:1:2::4", "2001:db8:1:2:ffff::9"),
        ("2002:808:808:1::1", "2002:808:808:2::1", "8.8.8.8"),
    ],
)
async def test_a_client_has_one_bucket_however_its_address_is_written(
    limited: Limited, addresses: tuple[str, ...]
) -> None:
    async with limited(signup_limit_per_ip="1/minute", signup_trusted_proxies="127.0.0.0/8") as api:
        answers = [
            await api.http.post("/v1/signups", json=ASA, headers={"X-Forwarded-For": address}) for address in addresses
        ]
    assert [answer.status_code for answer in answers] == [202, 429, 429]


async def test_anonymous_idempotency_keys_count_within_the_forwarded_address(limited: Limited) -> None:
    def headers(address: str) -> dict[str, str]:
        return {"X-Forwarded-For": address, "Idempotency-Key": "same"}

    async with limited(signup_limit_per_ip="off", signup_trusted_proxies="127.0.0.1/32") as api:
        first: httpx.Response = await api.http.post("/v1/signups", json=ASA, headers=headers("203.0.113.1"))
        other = await api.http.post("/v1/signups", json=ASA, headers=headers("203.0.113.2"))
        again = await api.http.post("/v1/signups", json=ASA, headers=headers("203.0.113.1"))
    assert "idempotent-replayed" not in first.headers
    assert "idempotent-replayed" not in other.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_network_of_many_addresses_has_one_limit(limited: Limited) -> None:
    async with limited(signup_limit_per_network="3/minute", signup_trusted_proxies="127.0.0.0/8") as api:
        answers = [
            await api.http.post("/v1/signups", json=ASA, headers={"X-Forwarded-For": address})
            for address in ("198.51.100.1", "198.51.100.2", "198.51.100.77", "198.51.100.200", "198.51.101.1")
        ]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 202]
    assert answers[3].headers["ratelimit-policy"] == '"network";q=3;w=60'
    assert "this network" in answers[3].json()["detail"]


async def test_the_limit_of_networks_can_be_off(limited: Limited) -> None:
    async with limited(
        signup_limit_per_ip="1/minute", signup_limit_per_network="off", signup_trusted_proxies="127.0.0.0/8"
    ) as api:
        answers = [
            await api.http.post("/v1/signups", json=ASA, headers={"X-Forwarded-For": f"198.51.100.{number}"})
            for number in range(5)
        ]
    assert {answer.status_code for answer in answers} == {202}


@pytest.mark.parametrize("setting", ["signup_limit_per_ip", "signup_limit_per_network"])
async def test_a_limit_that_is_no_rate_is_named(limited: Limited, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{setting.upper()} must be a rate"):
        async with limited(**{setting: "many"}):
            pass
