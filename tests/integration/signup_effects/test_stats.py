"""The effect `stats`: daily counts, written with the settlement of the rows that they count."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import httpx
import pytest

from services.signup.outbox.retry_policy import ClaimedRow, Outcome
from shared.contract.ids import UUID
from tests.support.apis import Api
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

MakeRelay = Callable[..., LoneRelay]
PUT_BACK = """
INSERT INTO outbox (id, effect, user_id, payload, created_at, expires_at)
SELECT DISTINCT ON (id) id, effect, user_id, payload, created_at, now() FROM outbox_settled WHERE effect = 'stats'
"""


async def test_signups_and_verifications_are_counted_on_the_day_they_happened(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(3)))
    await client.post("/v1/verifications", json={"token": await ledger.token("p1@example.org")})
    await ledger.run(
        "UPDATE outbox SET created_at = '2026-03-01T23:59:59Z' WHERE payload ->> 'event' LIKE '%signed_up'"
    )
    await ledger.run("UPDATE outbox SET created_at = '2026-03-03T00:00:00Z' WHERE payload ->> 'event' LIKE '%verified'")
    await relay_for("stats").run_once()
    answer = await client.get("/v1/stats/signups", params={"from": "2026-03-01", "to": "2026-03-03"})
    assert answer.json() == {
        "items": [
            {"day": "2026-03-01", "signups": 3, "verifications": 0},
            {"day": "2026-03-02", "signups": 0, "verifications": 0},
            {"day": "2026-03-03", "signups": 0, "verifications": 1},
        ],
        "next_cursor": None,
    }


@pytest.mark.promise("P3")
async def test_a_counted_row_put_back_into_the_outbox_is_not_counted_again(
    ledger: SignupLedger, relay_for: MakeRelay
) -> None:
    relay = relay_for("stats")
    await ledger.sign_up("asa@example.org")
    await relay.run_once()
    for _ in range(2):
        await ledger.run(PUT_BACK)
        await ledger.run("UPDATE outbox SET due_at = now()")
        while await ledger.rows("outbox", effect="stats"):
            await relay.run_once()
    assert await ledger.pool.fetchval("SELECT sum(count) FROM signup_statistics") == 1


async def test_a_worker_that_lost_its_lease_counts_nothing(ledger: SignupLedger, relay_for: MakeRelay) -> None:
    await ledger.sign_up("asa@example.org")
    relay = relay_for("stats")
    perform = relay._effect.perform

    async def lose_the_lease(entries: Sequence[ClaimedRow]) -> Mapping[UUID, Outcome]:
        await ledger.run("UPDATE outbox SET lease = uuidv7() WHERE effect = 'stats'")
        outcomes: Mapping[UUID, Outcome] = await perform(entries)
        return outcomes

    relay._effect.perform = lose_the_lease
    await relay.run_once()
    assert relay.counts["lease_lost"] == 1
    assert await ledger.pool.fetchval("SELECT count(*) FROM signup_statistics") == 0


async def test_the_default_is_the_last_thirty_days(client: httpx.AsyncClient) -> None:
    days = [item["day"] for item in (await client.get("/v1/stats/signups")).json()["items"]]
    assert len(days) == 30
    assert days == sorted(days)
    last = dt.date.fromisoformat(days[-1])
    until = (await client.get("/v1/stats/signups", params={"to": "2026-01-31"})).json()["items"]
    assert (until[0]["day"], until[-1]["day"]) == ("2026-01-02", "2026-01-31")
    since = str(last - dt.timedelta(days=2))
    assert len((await client.get("/v1/stats/signups", params={"from": since})).json()["items"]) == 3
    oldest = (await client.get("/v1/stats/signups", params={"to": "0001-01-02"})).json()["items"]
    assert [item["day"] for item in oldest] == ["0001-01-01", "0001-01-02"]


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"from": "2025-01-01", "to": "2026-01-02"},
        {"from": "0"},
        {"to": "yesterday"},
        {"since": "2026-01-01"},
    ],
)
async def test_an_invalid_span_is_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    answer = await client.get("/v1/stats/signups", params=params)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] in {"from", "to", "since"}


async def test_one_request_can_span_a_year(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/stats/signups", params={"from": "2024-01-01", "to": "2024-12-31"})
    assert len(answer.json()["items"]) == 366


async def test_statistics_need_their_own_scope(signup_api: Api) -> None:
    headers = await signup_api.key("other", "users:read")
    assert (await signup_api.http.get("/v1/stats/signups", headers=headers)).status_code == 403
    assert (await signup_api.http.get("/v1/stats/signups")).status_code == 401


async def test_the_last_possible_day_can_be_requested(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/stats/signups", params={"from": "9999-12-31", "to": "9999-12-31"})
    assert [item["day"] for item in answer.json()["items"]] == ["9999-12-31"]
