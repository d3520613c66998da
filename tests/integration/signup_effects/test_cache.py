"""The effect `cache`: profiles in Valkey."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from services.signup.erasure.erase import erase
from shared.contract.ids import UUID
from shared.worker.circuit_breaker import BreakerState
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

MakeRelay = Callable[..., LoneRelay]


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


def key(user_id: UUID) -> str:
    return f"counterfoil:profile:{user_id}"


async def test_a_profile_holds_public_fields_only_and_expires(
    ledger: SignupLedger, relay_for: MakeRelay, valkey: Redis
) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    await relay_for("cache", signup_cache_ttl_seconds=77).run_once()
    profile = orjson.loads(await valkey.get(key(asa.user["id"])))
    assert set(profile) == {"id", "name", "locale", "status", "created_at", "verified_at"}
    assert (profile["name"], profile["status"]) == ("asa", "pending")
    assert 70 <= await valkey.ttl(key(asa.user["id"])) <= 77


async def test_a_replay_writes_the_current_profile(ledger: SignupLedger, relay_for: MakeRelay, valkey: Redis) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    await ledger.run("UPDATE users SET name = 'Åsa'")
    await relay_for("cache").run_once()
    assert orjson.loads(await valkey.get(key(asa.user["id"])))["name"] == "Åsa"


async def test_an_erased_users_profile_is_deleted_whichever_row_runs_last(
    ledger: SignupLedger, relay_for: MakeRelay, valkey: Redis
) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    relay = relay_for("cache")
    await relay.run_once()
    await erase(ledger.pool, asa.user["id"], "test", ledger.policy)
    await relay.run_once()
    assert await valkey.get(key(asa.user["id"])) is None
    await ledger.run(
        "INSERT INTO outbox (effect, user_id, payload, expires_at) VALUES ('cache', $1, '{}', now())", asa.user["id"]
    )
    await relay.run_once()
    assert await valkey.get(key(asa.user["id"])) is None


async def test_a_user_erased_while_the_profile_is_written_is_retried(
    ledger: SignupLedger, relay_for: MakeRelay, valkey: Redis
) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    relay = relay_for("cache")
    write = relay._effect._write

    async def erase_then_write(*args: Any) -> None:
        await erase(ledger.pool, asa.user["id"], "test", ledger.policy)
        await write(*args)

    relay._effect._write = erase_then_write
    await relay.run_once()
    row = await ledger.row("outbox", effect="cache", attempts=1)
    assert row["last_error"] == "The user changed while the profile was written"
    relay._effect._write = write
    await ledger.run("UPDATE outbox SET due_at = now()")
    await relay.run_once()
    assert await ledger.rows("outbox", effect="cache") == []
    assert await valkey.get(key(asa.user["id"])) is None


async def test_a_valkey_outage_costs_no_attempt_and_opens_the_breaker(
    ledger: SignupLedger, relay_for: MakeRelay
) -> None:
    await ledger.sign_up("asa@example.org")
    relay = relay_for("cache", redis_url="redis://127.0.0.1:9/0")
    for _ in range(3):
        await relay.run_once()
    row = await ledger.row("outbox", effect="cache")
    assert (row["state"], row["attempts"]) == ("pending", 0)
    assert relay.breaker.state is not BreakerState.CLOSED
