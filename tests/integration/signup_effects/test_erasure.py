"""Erasing a user, and removing accounts that were never verified."""

import asyncio
from collections.abc import Callable

import asyncpg
import httpx
import orjson
import pytest

from services.signup.erasure.erase import erase
from services.signup.erasure.pending_cleanup import PendingCleanup
from shared.contract.ids import UUID, uuid7
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.stack import eventually

MakeRelay = Callable[..., LoneRelay]
# All personal data of the user, in lower case.
PERSONAL = ("asa@example.org", "åsa öberg", "s3cret-note")

# Delivered long ago.
SETTLE_MAILS = """
    WITH gone AS (DELETE FROM outbox WHERE effect = 'mail' RETURNING *)
    INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, attempts, created_at, settled_at)
    SELECT id, effect, user_id, payload, 'delivered', 1, created_at, now() - interval '31 days' FROM gone
"""


async def whole_ledger(clone: Clone) -> str:
    """Every row of every table, as text."""
    owner = await asyncpg.connect(clone.owner_url)
    try:
        tables = await owner.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        )
        parts = [
            await owner.fetchval(f"SELECT string_agg(t::text, E'\\n') FROM \"{table['relname']}\" AS t")
            for table in tables
        ]
    finally:
        await owner.close()
    return "\n".join(part for part in parts if part).lower()


async def sign_up(client: httpx.AsyncClient, email: str = "Asa@example.org", key: str | None = None) -> str:
    answer = await client.post(
        "/v1/signups",
        json={"email": email, "name": "Åsa Öberg", "metadata": {"note": "s3cret-note"}},
        headers={"Idempotency-Key": key or str(uuid7())},
    )
    user_id: str = answer.json()["id"]
    return user_id


async def test_no_personal_data_is_left_in_the_whole_database(
    signup_database: Clone, ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    user_id = await sign_up(client)
    # One mail is settled, one is still in the outbox.
    await client.post("/v1/verifications", json={"token": await ledger.token("Asa@example.org")})
    await ledger.run(
        "WITH gone AS (DELETE FROM outbox WHERE payload ->> 'template' = 'verification' RETURNING *)"
        " INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, attempts, created_at)"
        " SELECT id, effect, user_id, payload, 'delivered', 1, created_at FROM gone"
    )
    before = await whole_ledger(signup_database)
    assert all(word in before for word in PERSONAL)
    assert (await client.delete(f"/v1/users/{user_id}")).status_code == 204
    after = await whole_ledger(signup_database)
    assert [word for word in PERSONAL if word in after] == []
    gone = await client.get(f"/v1/users/{user_id}")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/user-erased")
    kinds = [entry["kind"] for entry in await ledger.rows("history", subject=user_id)]
    assert kinds == ["user.signed_up", "user.verified", "user.erased"]


async def sign_up_twice(ledger: SignupLedger, http: httpx.AsyncClient) -> UUID:
    """Without a key; the second signup's details are held beside its link."""
    for name in ("Asa", "Åsa Öberg"):
        await http.post(
            "/v1/signups", json={"email": "Asa@example.org", "name": name, "metadata": {"note": "s3cret-note"}}
        )
        await ledger.let_the_cooldown_pass()
    user_id: UUID = (await ledger.row("users"))["id"]
    return user_id


@pytest.mark.parametrize("settled", [False, True])
async def test_details_held_beside_a_link_are_erased_too(
    signup_database: Clone, ledger: SignupLedger, signup_api: Api, client: httpx.AsyncClient, *, settled: bool
) -> None:
    user_id = await sign_up_twice(ledger, signup_api.http)
    if settled:
        await ledger.run(SETTLE_MAILS)
    before = await whole_ledger(signup_database)
    assert all(word in before for word in PERSONAL)
    assert (await client.delete(f"/v1/users/{user_id}")).status_code == 204
    after = await whole_ledger(signup_database)
    assert [word for word in PERSONAL if word in after] == []


async def test_the_cleanup_of_pending_users_erases_details_held_beside_a_link(
    signup_database: Clone, ledger: SignupLedger, signup_api: Api
) -> None:
    await sign_up_twice(ledger, signup_api.http)
    await ledger.run(SETTLE_MAILS)
    await _make_older(signup_database, "31 days")
    await PendingCleanup(ledger.pool, ledger.policy, days=30).run_once()
    after = await whole_ledger(signup_database)
    assert [word for word in PERSONAL if word in after] == []


async def test_erasing_again_changes_nothing_and_an_unknown_user_is_not_found(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    user_id = await sign_up(client)
    for _ in range(2):
        assert (await client.delete(f"/v1/users/{user_id}")).status_code == 204
    assert len(await ledger.rows("history", kind="user.erased")) == 1
    assert len(await ledger.rows("outbox", effect="erase_mail")) == 1
    assert (await client.delete(f"/v1/users/{uuid7()}")).status_code == 404


async def test_erasing_needs_its_own_scope(signup_api: Api, client: httpx.AsyncClient) -> None:
    user_id = await sign_up(client)
    reader = await signup_api.key("other", "users:read")
    assert (await signup_api.http.delete(f"/v1/users/{user_id}", headers=reader)).status_code == 403
    eraser = await signup_api.key("other", "users:erase")
    assert (await signup_api.http.get(f"/v1/users/{user_id}", headers=eraser)).status_code == 403
    assert (await signup_api.http.delete(f"/v1/users/{user_id}", headers=eraser)).status_code == 204


async def test_the_address_can_sign_up_again_at_once_as_a_new_user(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    first = await sign_up(client)
    await client.delete(f"/v1/users/{first}")
    answer = await client.post("/v1/signups", json={"email": "asa@example.org", "name": "Asa"})
    assert answer.status_code == 201
    assert answer.json()["id"] != first
    assert len(await ledger.rows("outbox", effect="mail")) == 1, "the first user's cooldown is cleared"


async def test_a_late_repetition_of_the_signup_restores_no_user(
    ledger: SignupLedger, signup_api: Api, client: httpx.AsyncClient
) -> None:
    user_id = await sign_up(client, key="of-asa")
    body = {"email": "Asa@example.org", "name": "Åsa Öberg", "metadata": {"note": "s3cret-note"}}
    key = {"Idempotency-Key": "once"}
    await signup_api.http.post("/v1/signups", json=body | {"email": "bo@example.org"}, headers=key)
    bo = await ledger.row("users", email="bo@example.org")
    for person in (user_id, bo["id"]):
        await client.delete(f"/v1/users/{person}")
    again = await client.post("/v1/signups", json=body, headers={"Idempotency-Key": "of-asa"})
    assert (again.status_code, again.json()["type"]) == (410, "/problems/user-erased")
    anonymous = await signup_api.http.post("/v1/signups", json=body | {"email": "bo@example.org"}, headers=key)
    assert (anonymous.status_code, anonymous.text) == (202, '{"status":"accepted"}\n')
    other = await signup_api.http.post("/v1/signups", json=body | {"email": "eve@example.org"}, headers=key)
    assert other.json()["type"] == "/problems/request-id-reused"
    assert {row["status"] for row in await ledger.rows("users")} == {"erased"}


async def test_waiting_mails_are_canceled_and_the_erasure_waits_for_one_that_is_being_sent(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    asa, bo = await sign_up(client), await sign_up(client, "bo@example.org")
    await ledger.run(
        "UPDATE outbox SET state = 'leased', lease = uuidv7(), due_at = now() + interval '20 seconds'"
        " WHERE effect = 'mail' AND user_id = $1",
        asa,
    )
    for person in (asa, bo):
        await client.delete(f"/v1/users/{person}")
    assert await ledger.rows("outbox", effect="mail") == []
    assert {row["outcome"] for row in await ledger.rows("outbox_settled", effect="mail")} == {"canceled"}
    waits = "SELECT due_at > now() + interval '10 seconds' FROM outbox WHERE effect = 'erase_mail' AND user_id = $1"
    assert await ledger.pool.fetchval(waits, asa) is True
    assert await ledger.pool.fetchval(waits, bo) is False


async def test_the_link_of_an_erased_user_is_unknown(ledger: SignupLedger, client: httpx.AsyncClient) -> None:
    user_id = await sign_up(client)
    token = await ledger.token("Asa@example.org")
    await client.delete(f"/v1/users/{user_id}")
    assert (await client.post("/v1/verifications", json={"token": token})).status_code == 404


async def test_a_mail_that_is_owed_while_the_erasure_waits_for_a_lock_is_canceled_too(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    user_id = await sign_up(client)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with ledger.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE users SET status = 'verified', verified_at = now()")
            erasing = asyncio.create_task(client.delete(f"/v1/users/{user_id}"))
            await eventually(lambda: ledger.pool.fetchval(waiting), lambda count: count == 1, what="erasing")
            await connection.execute(
                "INSERT INTO outbox (effect, user_id, payload, expires_at) VALUES"
                """ ('mail', $1, '{"template": "welcome", "to": {"email": "asa@example.org"}}', now())""",
                user_id,
            )
        assert (await erasing).status_code == 204
    assert await ledger.rows("outbox", effect="mail") == []
    assert [row["payload"] for row in await ledger.rows("outbox_settled") if "to" in row["payload"]] == []


async def test_verifying_and_erasing_at_once_leaves_no_user_half_erased(
    ledger: SignupLedger, client: httpx.AsyncClient, signup_database: Clone
) -> None:
    people = [await sign_up(client, f"asa{n}@example.org") for n in range(10)]
    tokens = [await ledger.token(f"asa{n}@example.org") for n in range(10)]
    await asyncio.gather(
        *(client.post("/v1/verifications", json={"token": token}) for token in tokens),
        *(client.delete(f"/v1/users/{person}") for person in people),
    )
    assert await ledger.rows("outbox", effect="mail") == []
    assert "@example.org" not in await whole_ledger(signup_database)


async def test_only_payloads_of_erased_users_can_be_erased(ledger: SignupLedger, client: httpx.AsyncClient) -> None:
    user_id = await sign_up(client)
    with pytest.raises(asyncpg.RestrictViolationError):
        await ledger.pool.execute("SELECT erase_user_payloads(ARRAY[$1::uuid])", user_id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.pool.execute("UPDATE outbox_settled SET payload = '{}'")


@pytest.mark.parametrize(
    ("status", "state", "attempts"),
    [(200, "settled", 1), (503, "pending", 0), (401, "pending", 0), (404, "pending", 1), (422, "dead", 1)],
)
async def test_the_mail_service_is_asked_to_erase_too(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, status: int, state: str, attempts: int
) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, orjson.loads(request.content)))
        return httpx.Response(status, json={"erased": 2})

    user_id = await sign_up(client)
    await client.delete(f"/v1/users/{user_id}")
    relay = relay_for("erase_mail")
    await relay._effect._client.aclose()
    relay._effect._client = httpx.AsyncClient(base_url="http://mail", transport=httpx.MockTransport(answer))
    await relay.run_once()
    assert asked == [("POST", "/v1/erasures", {"metadata": {"user_id": user_id}})]
    if state == "settled":
        row = await ledger.row("outbox_settled", effect="erase_mail")
        assert row["result"] == {"erased": 2}
    else:
        row = await ledger.row("outbox", effect="erase_mail")
        assert row["state"] == state
    assert row["attempts"] == attempts


async def test_the_cleanup_frees_only_addresses_of_stale_pending_users(
    ledger: SignupLedger, signup_database: Clone
) -> None:
    await ledger.sign_up(*(f"{name}@example.org" for name in ("stale", "verified", "recent", "again", "resent")))
    month = "interval '31 days'"
    # User IDs contain the time of creation.
    owner = await asyncpg.connect(signup_database.owner_url)
    await owner.execute("DELETE FROM outbox")
    await owner.execute(
        f"UPDATE users SET id = uuidv7(-{month}), created_at = created_at - {month}, updated_at = updated_at - {month},"
        f" last_mail_at = last_mail_at - {month} WHERE email <> 'recent@example.org'"
    )
    await owner.execute("UPDATE users SET updated_at = now() WHERE email = 'again@example.org'")
    await owner.execute("UPDATE users SET last_mail_at = now() WHERE email = 'resent@example.org'")
    await owner.execute(
        "UPDATE users SET status = 'verified', verified_at = updated_at WHERE email = 'verified@example.org'"
    )
    await owner.close()
    stale = await ledger.row("users", email="stale@example.org")
    disabled = PendingCleanup(ledger.pool, ledger.policy, days=0)
    assert await disabled.run_once() is False
    assert await PendingCleanup(ledger.pool, ledger.policy, days=32).run_once() is False
    cleanup = PendingCleanup(ledger.pool, ledger.policy, days=30, batch=1)
    while await cleanup.run_once():
        pass
    assert cleanup.counts == {"cleaned": 1}
    left = {row["email"] for row in await ledger.rows("users") if row["email"]}
    assert left == {f"{name}@example.org" for name in ("verified", "recent", "again", "resent")}
    entry = await ledger.row("history", kind="user.pending_removed")
    assert (entry["subject"], entry["actor"]) == (str(stale["id"]), "signup-worker")
    assert sorted(row["effect"] for row in await ledger.rows("outbox")) == ["cache", "erase_mail"]
    (fresh,) = await ledger.sign_up("stale@example.org")
    assert fresh.created


async def test_the_cleanup_keeps_users_whose_mail_still_waits_and_counts_their_days_from_when_it_was_handed_over(
    ledger: SignupLedger, signup_database: Clone
) -> None:
    names = ("held", "under-way", "just-asked", "asked-long-ago", "refused", "canceled")
    await ledger.sign_up(*(f"{name}@example.org" for name in names))
    month = "interval '31 days'"
    settle = (
        "WITH gone AS (DELETE FROM outbox WHERE effect = 'mail' AND payload #>> '{{to,email}}' = '{}@example.org'"
        " RETURNING *) INSERT INTO outbox_settled"
        " (id, effect, user_id, payload, outcome, attempts, created_at, settled_at)"
        " SELECT id, effect, user_id, payload, '{}', 1, created_at, now() - {} FROM gone"
    )
    for name, outcome, ago in (
        ("just-asked", "delivered", "interval '1 day'"),
        ("asked-long-ago", "delivered", month),
        ("canceled", "canceled", "interval '1 day'"),
    ):
        await ledger.run(settle.format(name, outcome, ago))
    await ledger.run(
        "UPDATE outbox SET state = 'dead', dead_at = now(), due_at = NULL, last_error = 'no'"
        " WHERE effect = 'mail' AND payload #>> '{to,email}' = 'refused@example.org'"
    )
    await ledger.run("UPDATE outbox SET due_at = 'infinity' WHERE payload #>> '{to,email}' = 'held@example.org'")
    await ledger.run(
        "UPDATE outbox SET state = 'leased', lease = uuidv7() WHERE payload #>> '{to,email}' = 'under-way@example.org'"
    )
    await _make_older(signup_database, "31 days")
    cleanup = PendingCleanup(ledger.pool, ledger.policy, days=30)
    await cleanup.run_once()
    left = {row["email"] for row in await ledger.rows("users") if row["email"]}
    assert left == {f"{name}@example.org" for name in ("held", "under-way", "just-asked")}


async def _make_older(clone: Clone, age: str) -> None:
    """Makes users older: their times, and their IDs, which contain the time of creation."""
    owner = await asyncpg.connect(clone.owner_url)
    try:
        await owner.execute("ALTER TABLE outbox DROP CONSTRAINT outbox_user_id_fkey")
        async with owner.transaction():
            for user_id in [row["id"] for row in await owner.fetch("SELECT id FROM users")]:
                older = await owner.fetchval(f"SELECT uuidv7(-interval '{age}')")
                await owner.execute(
                    "UPDATE users SET id = $2, created_at = created_at - $3::text::interval,"
                    " updated_at = updated_at - $3::text::interval, last_mail_at = last_mail_at - $3::text::interval"
                    " WHERE id = $1",
                    *(user_id, older, age),
                )
                for table in ("outbox", "outbox_settled"):
                    await owner.execute(f"UPDATE {table} SET user_id = $2 WHERE user_id = $1", user_id, older)
    finally:
        await owner.close()


async def test_an_erasure_that_fails_half_way_changes_nothing(ledger: SignupLedger, client: httpx.AsyncClient) -> None:
    user_id = await sign_up(client)
    counts = await ledger.counts()
    owed = ledger.policy.owed._replace(effects=ledger.policy.owed.effects[:-1])  # columns of unequal length
    broken = ledger.policy.__class__(60, None, ledger.policy.pinned, owed)  # type: ignore[arg-type]
    with pytest.raises(asyncpg.PostgresError):
        await erase(ledger.pool, (await ledger.row("users"))["id"], "test", broken)
    assert await ledger.counts() == counts
    assert (await client.get(f"/v1/users/{user_id}")).status_code == 200
