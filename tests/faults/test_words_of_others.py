"""What a server says while it quotes people's data is repeated nowhere: Valkey made a replica refuses each profile."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.stack import PROCESSES, Ledgers, eventually

NAME, ADDRESS = "Åsa Öberg-Quoted", "asa.quoted@example.org"
PERSONAL = ("quoted", "åsa", "\\u00e5sa", "\\xc3\\xa5sa")
READ_ONLY = "Valkey did not answer: ReadOnlyError: You can't write against a read only replica."
# Whatever a column is called: each row as text.
ROWS = {
    "signup": ("heartbeats", "alerts", "history", "check_results"),
    "mail": ("heartbeats", "alerts", "history", "check_results"),
}


@pytest.fixture
async def replica(ledgers: Ledgers) -> AsyncIterator[Redis]:
    client = Redis.from_url(ledgers.stack._environment["REDIS_URL"])
    await client.replicaof("127.0.0.1", 1)
    yield client
    await client.replicaof("NO", "ONE")
    await client.aclose()


async def _breaker(ledgers: Ledgers) -> dict[str, Any]:
    checks = (await ledgers.signup.get("/health")).json()["checks"]
    breaker: dict[str, Any] = checks.get("breaker_cache", {})
    return breaker


async def _everything_shown(ledgers: Ledgers) -> str:
    """Health, metrics, logs, and the rows that hold what went wrong."""
    parts = []
    for client in (ledgers.anonymous, ledgers.signup, ledgers.mail):
        parts += [(await client.get(path)).text for path in ("/health", "/health/ready", "/metrics")]
    parts.append(str(await ledgers.fetchval("signup", "SELECT string_agg(last_error, ' ') FROM outbox")))
    for service, tables in ROWS.items():
        for table in tables:
            parts.append(str(await ledgers.fetchval(service, f"SELECT string_agg(t::text, ' ') FROM {table} AS t")))
    parts += [ledgers.stack.log_of(name) for name in PROCESSES]
    return "\n".join(parts).lower()


async def test_a_read_only_valkey_shows_nobodys_profile(ledgers: Ledgers, replica: Redis) -> None:
    person = {"email": ADDRESS, "name": NAME, "metadata": {"note": "quoted"}}
    user = (await ledgers.signup.post("/v1/signups", json=person)).json()
    await eventually(
        lambda: _breaker(ledgers), lambda breaker: breaker.get("detail") == READ_ONLY, what="the breaker's last fault"
    )
    waiting = await ledgers.fetchval("signup", "SELECT last_error FROM outbox WHERE effect = 'cache' LIMIT 1")
    assert waiting == READ_ONLY
    shown = await _everything_shown(ledgers)
    assert READ_ONLY.lower() in shown
    assert [word for word in PERSONAL if word in shown] == []

    await replica.replicaof("NO", "ONE")
    assert (await ledgers.signup.delete(f"/v1/users/{user['id']}")).status_code == 204
    owed = "SELECT count(*) FROM outbox WHERE effect = 'cache'"
    await eventually(lambda: ledgers.fetchval("signup", owed), lambda count: count == 0, what="the profiles written")
    shown = await _everything_shown(ledgers)
    assert [word for word in PERSONAL if word in shown] == []
