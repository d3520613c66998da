"""SIGNUP_CHALLENGE: who must solve a challenge, and that each is good once (ADR 0029)."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from services.signup.accounts.challenges import Challenges
from services.signup.accounts.sign_up import Details
from services.signup.accounts.signup_batcher import SignupBatcher
from services.signup.accounts.used_challenges import Proof, UsedChallengeCleanup
from services.signup.app import create_app
from services.signup.errors import ChallengeRequired
from services.signup.settings import Settings
from shared.contract.addresses import parse_address
from tests.support.apis import Api, running
from tests.support.challenges import solve
from tests.support.databases import Clone
from tests.support.signups import ANONYMOUS, SignupLedger

BO = {"email": "bo@example.org", "name": "Bo"}
IO = {"email": "io@example.org", "name": "Io"}
KEY = {"Idempotency-Key": "order-7"}


@pytest.fixture
async def asking_api(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Api]:
    settings = signup_settings.model_copy(update={"signup_challenge": "always"})
    async with running(create_app(settings), signup_database.database) as api:
        yield api


@pytest.fixture
def http(asking_api: Api) -> httpx.AsyncClient:
    """A caller without a key."""
    return asking_api.http


async def _solution(http: httpx.AsyncClient) -> str:
    answer = await http.get("/v1/challenges")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    return solve(answer.json())


async def _used(ledger: SignupLedger) -> int:
    found: int = await ledger.pool.fetchval("SELECT count(*) FROM used_challenges")
    return found


async def test_without_the_setting_nothing_is_asked_and_nothing_is_used(signup_api: Api, ledger: SignupLedger) -> None:
    assert (await signup_api.http.post("/v1/signups", json=BO)).status_code == 202
    for challenge in ("nonsense", "", None, await _solution(signup_api.http)):
        assert (await signup_api.http.post("/v1/signups", json=IO | {"challenge": challenge})).status_code == 202
    assert await _used(ledger) == 0


async def test_without_a_solution_nothing_is_owed_and_no_user_exists(
    http: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    old = solve(Challenges(ledger.ring).make(lifetime_seconds=-1))
    wrong = solve((await http.get("/v1/challenges")).json(), number=50_001)
    refused = [await http.post("/v1/signups", json=BO)] + [
        await http.post("/v1/signups", json=BO | {"challenge": challenge}) for challenge in (None, "", "x", old, wrong)
    ]
    assert {(answer.status_code, answer.json()["type"]) for answer in refused} == {
        (403, "/problems/challenge-required")
    }
    assert len({answer.json()["detail"] for answer in refused}) == 1
    assert "GET /v1/challenges" in refused[0].json()["detail"]
    assert sum((await ledger.counts()).values()) == 0


async def test_each_solution_is_good_once(http: httpx.AsyncClient, ledger: SignupLedger) -> None:
    solution = await _solution(http)
    assert (await http.post("/v1/signups", json=BO | {"challenge": solution})).status_code == 202
    before = await ledger.counts()
    again = await http.post("/v1/signups", json=IO | {"challenge": solution})
    assert (again.status_code, again.json()["type"]) == (403, "/problems/challenge-required")
    assert (await ledger.counts(), await _used(ledger)) == (before, 1)


async def test_of_many_at_once_with_one_solution_one_passes(http: httpx.AsyncClient, ledger: SignupLedger) -> None:
    solution = await _solution(http)
    answers = await asyncio.gather(
        *(
            http.post("/v1/signups", json={"email": f"p{n}@example.org", "name": "P", "challenge": solution})
            for n in range(40)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202] + [403] * 39
    counts = await ledger.counts()
    assert (counts["users"], counts["outbox"], counts["history"]) == (1, 1, 1)


async def test_two_processes_let_one_solution_pass_once(ledger: SignupLedger) -> None:
    proof = Proof(needed=True, challenge_id=b"x" * 32)
    batchers = [SignupBatcher(ledger.pool, ledger.policy) for _ in range(5)]
    outcomes = await asyncio.gather(
        *(
            batcher.sign_up(Details(parse_address(f"p{n}@example.org"), "P"), ANONYMOUS, proof)
            for n, batcher in enumerate(batchers)
        ),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(ChallengeRequired) == 4
    assert (await ledger.counts())["users"] == 1


async def test_a_refused_signup_leaves_the_others_of_its_statement_alone(
    http: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    used = await _solution(http)
    assert (await http.post("/v1/signups", json=IO | {"challenge": used})).status_code == 202
    solutions = [used if n % 4 == 0 else await _solution(http) for n in range(12)]
    answers = await asyncio.gather(
        *(
            http.post("/v1/signups", json={"email": f"p{n}@example.org", "name": "P", "challenge": solution})
            for n, solution in enumerate(solutions)
        )
    )
    assert [answer.status_code for answer in answers] == [403 if n % 4 == 0 else 202 for n in range(12)]
    assert ((await ledger.counts())["users"], await _used(ledger)) == (10, 10)


async def test_the_answer_is_the_same_for_every_address(http: httpx.AsyncClient, ledger: SignupLedger) -> None:
    await ledger.sign_up("bo@example.org", "io@example.org")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now() WHERE email = 'io@example.org'")
    emails = ("bo@example.org", "io@example.org", "new@example.org")
    refused = [await http.post("/v1/signups", json={"email": email, "name": "X"}) for email in emails]
    seen = {(answer.status_code, answer.json()["detail"]) for answer in refused}
    assert [status for status, _ in seen] == [403]
    passed = [
        await http.post("/v1/signups", json={"email": email, "name": "X", "challenge": await _solution(http)})
        for email in emails
    ]
    assert {(answer.status_code, answer.content) for answer in passed} == {(202, b'{"status":"accepted"}\n')}


async def test_callers_with_a_key_are_not_asked(asking_api: Api, ledger: SignupLedger) -> None:
    async with await asking_api.as_client("shop", ["signups:write"]) as shop:
        assert (await shop.post("/v1/signups", json=BO)).status_code == 201
        assert (await shop.post("/v1/signups", json=IO | {"challenge": "x"})).status_code == 201
    assert await _used(ledger) == 0


@pytest.mark.parametrize("challenge", ["the same", "another", "none", "nonsense"])
async def test_a_repetition_is_answered_as_before_and_uses_no_challenge(
    http: httpx.AsyncClient, ledger: SignupLedger, challenge: str
) -> None:
    first = BO | {"challenge": await _solution(http)}
    assert (await http.post("/v1/signups", json=first, headers=KEY)).status_code == 202
    second = {"the same": first, "another": BO | {"challenge": await _solution(http)}, "none": BO}
    again = await http.post("/v1/signups", json=second.get(challenge, BO | {"challenge": "x"}), headers=KEY)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    counts = await ledger.counts()
    assert (counts["users"], counts["outbox"], await _used(ledger)) == (1, 1, 1)


async def test_a_refused_request_does_not_use_up_its_idempotency_key(
    http: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    used = await _solution(http)
    await http.post("/v1/signups", json=IO | {"challenge": used})
    for body in (BO, BO | {"challenge": "x"}, BO | {"challenge": used}):
        assert (await http.post("/v1/signups", json=body, headers=KEY)).status_code == 403
    assert (await ledger.counts())["idempotency_keys"] == 0
    solved = BO | {"challenge": await _solution(http)}
    assert (await http.post("/v1/signups", json=solved, headers=KEY)).status_code == 202


async def test_the_same_key_and_solution_at_once_are_one_signup(http: httpx.AsyncClient, ledger: SignupLedger) -> None:
    body = BO | {"challenge": await _solution(http)}
    answers = await asyncio.gather(*(http.post("/v1/signups", json=body, headers=KEY) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert ((await ledger.counts())["users"], await _used(ledger)) == (1, 1)


async def test_a_mail_is_sent_again_only_for_a_solution(http: httpx.AsyncClient, ledger: SignupLedger) -> None:
    await ledger.sign_up("bo@example.org")
    await ledger.let_the_cooldown_pass()
    before = await ledger.counts()
    bo = {"email": "bo@example.org"}
    solution = await _solution(http)
    await http.post("/v1/signups", json=IO | {"challenge": solution})
    after_io = await ledger.counts()
    for body in (bo, bo | {"challenge": "x"}, bo | {"challenge": solution}):
        refused = await http.post("/v1/verifications/resend", json=body)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/challenge-required")
    assert await ledger.counts() == after_io
    for email in ("bo@example.org", "unknown@example.org"):
        solved = {"email": email, "challenge": await _solution(http)}
        assert (await http.post("/v1/verifications/resend", json=solved)).status_code == 202
    assert (await ledger.counts())["outbox"] == before["outbox"] + 2
    assert await _used(ledger) == 3


async def test_an_attack_turns_it_on_and_health_says_so(signup_settings: Settings, signup_database: Clone) -> None:
    update = {"signup_challenge": "under_attack", "signup_challenge_per_minute": 3}
    settings = signup_settings.model_copy(update=update)
    async with running(create_app(settings), signup_database.database) as api:
        quiet = (await api.operations.get("/health")).json()["checks"]["challenge"]
        statuses = [(await api.http.post("/v1/signups", json=BO)).status_code for _ in range(5)]
        noisy = (await api.operations.get("/health")).json()["checks"]["challenge"]
        solved = await api.http.post("/v1/signups", json=BO | {"challenge": await _solution(api.http)})
    assert (quiet["status"], quiet["observed_value"]) == ("pass", "under_attack")
    assert statuses == [202, 202, 202, 403, 403]
    assert (noisy["status"], noisy["observed_value"]) == ("warn", "on")
    assert "must solve a challenge" in noisy["detail"]
    assert solved.status_code == 202


async def test_used_challenges_are_forgotten_when_they_have_long_expired(ledger: SignupLedger) -> None:
    rows = "SELECT sha256(n::text::bytea), now() - make_interval(mins => n) FROM generate_series(0, 39) AS n"
    await ledger.run(f"INSERT INTO used_challenges (id, used_at) {rows}")
    cleanup = UsedChallengeCleanup(ledger.pool, batch=15)
    assert [await cleanup.run_once(), await cleanup.run_once()] == [True, False]
    oldest = await ledger.pool.fetchval("SELECT max(now() - used_at) FROM used_challenges")
    assert (await _used(ledger), oldest.total_seconds() // 60) == (20, 19)


async def test_the_example_form_is_served_with_a_strict_policy(signup_api: Api) -> None:
    page = await signup_api.http.get("/signup/example")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    for word in page.text.replace('"', " ").split():
        if word.startswith("/signup/example/"):
            assert (await signup_api.http.get(word)).status_code == 200, word
    assert (await signup_api.http.get("/signup/example/altcha-sha.js")).headers["Content-Type"].startswith("text/java")
    assert (await signup_api.http.get("/signup/example/nothing.js")).status_code == 404
