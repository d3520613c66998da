"""How many mails callers without a key can cause (ADR 0028)."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest

from services.signup.accounts.sign_up import Caller, Details, SignupCommand, write
from services.signup.accounts.verify import resend, verify
from services.signup.app import create_app
from services.signup.audit.alerts import ALERT_RULES, make_alert_loop, symptoms_in
from services.signup.audit.mail_service_view import MailServiceView
from services.signup.audit.queries import ALERT_SYMPTOMS
from services.signup.reconciliation.queries import NEXT_WAITING
from services.signup.settings import Settings
from shared.audit.incidents import Incidents
from shared.contract.addresses import parse_address
from shared.contract.ids import UUID
from tests.support.apis import running
from tests.support.mail_stand_in import MailStandIn
from tests.support.overdue import overdue_seconds
from tests.support.relays import LoneRelay
from tests.support.signups import ANONYMOUS, SignupLedger

VICTIM = "victim@example.org"
SHOP = Caller("shop", "key:shop/test", "client:shop")
MINUTE, HOUR, DAY = 60, 3600, 86_400
EARLIER = """
WITH budget AS (UPDATE stranger_mail_budget SET spent_until = spent_until - make_interval(secs => $1))
UPDATE users SET last_mail_at = last_mail_at - make_interval(secs => $1),
    window_began_at = window_began_at - make_interval(secs => $1)
"""
Pass: TypeAlias = Callable[[float], Awaitable[None]]


@pytest.fixture
async def let_pass(ledger: SignupLedger) -> AsyncIterator[Pass]:
    """As if everything so far had been so many seconds earlier."""
    owner = await asyncpg.connect(ledger.clone.owner_url)

    async def earlier(seconds: float) -> None:
        await owner.execute(EARLIER, float(seconds))

    yield earlier
    await owner.close()


@pytest.fixture
def unlimited(ledger: SignupLedger) -> SignupLedger:
    """Only the pauses count here, not the number a day."""
    return replace(ledger, policy=replace(ledger.policy, mails_per_address_per_day=0))


async def _sign_up(ledger: SignupLedger, email: str = VICTIM, caller: Caller = ANONYMOUS) -> bool:
    """Whether a mail is owed."""
    command = SignupCommand(Details(parse_address(email), "Åsa"), caller, None)
    (done,) = (await write(ledger.pool, [command], ledger.policy)).values()
    return done.mail_owed


async def _mails(ledger: SignupLedger) -> int:
    return len(await ledger.rows("outbox", effect="mail"))


async def test_the_pause_doubles_with_each_mail_up_to_a_day(unlimited: SignupLedger, let_pass: Pass) -> None:
    assert await _sign_up(unlimited)
    pauses = [min(DAY, MINUTE * 2**n) for n in range(13)]
    assert pauses[-2:] == [DAY, DAY]
    for pause in pauses:
        await let_pass(pause - 1)
        assert not await _sign_up(unlimited), pause
        await let_pass(1)
        assert await _sign_up(unlimited), pause


async def test_one_address_gets_no_more_than_five_in_a_day_and_more_on_the_next(
    ledger: SignupLedger, let_pass: Pass
) -> None:
    for _ in range(4 * 24):
        await _sign_up(ledger)
        await resend(ledger.pool, VICTIM, ledger.policy)
        await let_pass(15 * MINUTE - 1)
    assert await _mails(ledger) == 5
    await let_pass(HOUR)
    assert await _sign_up(ledger)


async def test_a_link_for_resending_counts_like_a_signup(ledger: SignupLedger, let_pass: Pass) -> None:
    await _sign_up(ledger)
    await let_pass(MINUTE)
    assert await resend(ledger.pool, VICTIM, ledger.policy)
    await let_pass(2 * MINUTE - 1)
    assert not await _sign_up(ledger)
    assert not await resend(ledger.pool, VICTIM, ledger.policy)
    await let_pass(1)
    assert await resend(ledger.pool, VICTIM, ledger.policy)


async def test_verifying_ends_the_doubling_and_then_one_mail_a_day_says_already_registered(
    ledger: SignupLedger, let_pass: Pass
) -> None:
    for pause in (0, MINUTE, 2 * MINUTE):
        await let_pass(pause)
        assert await _sign_up(ledger)
    await verify(ledger.pool, ledger.ring, await ledger.token(VICTIM), ledger.policy)
    await let_pass(MINUTE)
    assert await _sign_up(ledger)
    newest = (await ledger.rows("outbox", effect="mail"))[-1]
    assert newest["payload"]["template"] == "already-registered"
    await let_pass(DAY - 1)
    assert not await _sign_up(ledger)
    await let_pass(1)
    assert await _sign_up(ledger)


async def test_callers_with_a_key_neither_count_nor_wait_longer_than_the_first_pause(
    ledger: SignupLedger, let_pass: Pass
) -> None:
    for _ in range(8):
        assert await _sign_up(ledger, caller=SHOP)
        await let_pass(MINUTE)
    assert (await ledger.row("users"))["stranger_mails"] == 0
    assert await _sign_up(ledger)


async def test_what_is_over_the_hour_waits_and_is_not_lost(ledger: SignupLedger) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=60))
    for number in range(90):
        assert await _sign_up(limited, f"p{number}@example.org")
    due = [row["due_at"] - row["created_at"] for row in await ledger.rows("outbox", effect="mail")]
    assert len(due) == 90
    assert all(wait.total_seconds() <= 0 for wait in due[:60])
    waits = [wait.total_seconds() for wait in due[60:]]
    assert waits == sorted(waits)
    assert 29 * MINUTE < waits[-1] <= 30 * MINUTE
    expiries = [row["expires_at"] - row["due_at"] for row in await ledger.rows("outbox", effect="mail")]
    assert {round(expiry.total_seconds()) for expiry in expiries} == {round(ledger.policy.give_up_seconds)}


async def test_a_mail_that_waited_for_its_hour_is_late_from_its_time_on_also_in_an_outage(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=60))
    await limited.sign_up(VICTIM, *(f"p{number}@example.org" for number in range(59)))
    await ledger.let_the_cooldown_pass()
    assert await resend(ledger.pool, VICTIM, limited.policy)
    assert await _sign_up(limited, "last@example.org")
    await ledger.run("DELETE FROM outbox WHERE due_at <= now()")
    assert await _mails(ledger) == 2
    # Their two hours are over now.
    await ledger.run(
        "UPDATE outbox SET created_at = created_at - interval '2 hours', due_at = now(),"
        " payload = jsonb_set(payload, '{waits_until}', to_jsonb(now()), false)"
    )
    assert max((await overdue_seconds(ledger.pool, "mail")).values()) < MINUTE
    mail_api.answer_with = 503
    await relay.run_once()
    assert all("503" in row["last_error"] for row in await ledger.rows("outbox"))
    assert max((await overdue_seconds(ledger.pool, "mail")).values()) < MINUTE
    window = (datetime.now(UTC) - timedelta(days=1), datetime.now(UTC))
    mails = await ledger.pool.fetch(NEXT_WAITING, *window, UUID(int=0), float(HOUR))
    assert [mail["stuck"] for mail in mails] == [False, False]
    await ledger.run(
        "UPDATE outbox SET due_at = now(),"
        " payload = jsonb_set(payload, '{waits_until}', to_jsonb(now() - interval '16 minutes'), false)"
    )
    assert min((await overdue_seconds(ledger.pool, "mail")).values()) >= 16 * MINUTE


async def test_the_mails_of_callers_with_a_key_do_not_wait_behind_strangers(ledger: SignupLedger) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=1))
    for number in range(5):
        await _sign_up(limited, f"p{number}@example.org")
    together = [
        SignupCommand(Details(parse_address(email), "Åsa"), caller, None)
        for email, caller in (("customer@example.org", SHOP), ("stranger@example.org", ANONYMOUS))
    ]
    await write(ledger.pool, together, limited.policy)
    waits = {
        row["payload"]["to"]["email"]: row["due_at"] > row["created_at"]
        for row in await ledger.rows("outbox", effect="mail")
    }
    assert (waits["customer@example.org"], waits["stranger@example.org"]) == (False, True)


@pytest.mark.parametrize(
    ("mails", "names"), [(29, set()), (31, {"stranger_mails_half_spent"}), (61, {"stranger_mails_spent"})]
)
async def test_operators_are_warned_at_half_of_the_hour_and_alerted_when_it_is_used_up(
    ledger: SignupLedger, mails: int, names: set[str]
) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=60))
    for number in range(mails):
        await _sign_up(limited, f"p{number}@example.org")
    row = await ledger.pool.fetchrow(ALERT_SYMPTOMS, "signup-worker", ["mail"])
    assert row is not None
    assert {symptom.name for symptom in symptoms_in(row, mails_per_hour=60) if "stranger" in symptom.name} == names


@pytest.mark.parametrize(("mails_per_hour", "opened"), [(60, {"stranger_mails_spent"}), (0, set())])
async def test_without_a_limit_nothing_that_was_spent_before_is_an_alert(
    ledger: SignupLedger, signup_settings: Settings, mails_per_hour: int, opened: set[str]
) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=60))
    await limited.sign_up(*(f"p{number}@example.org" for number in range(61)))
    # No server listens on this port.
    changed = {"signup_mails_per_hour": mails_per_hour, "mail_url": "http://127.0.0.1:9"}
    settings = signup_settings.model_copy(update=changed)
    view = MailServiceView.connect(settings)
    await make_alert_loop(settings, ledger.pool, view, runs_checks=False).run_once()
    await view.close()
    assert {row["name"] for row in await ledger.rows("alerts") if "stranger" in row["name"]} == opened


async def test_a_raised_limit_counts_at_once_when_the_operator_forgets_what_was_spent(ledger: SignupLedger) -> None:
    slow, fast = (replace(ledger, policy=replace(ledger.policy, mails_per_hour=limit)) for limit in (60, 6000))
    await slow.sign_up(*(f"p{number}@example.org" for number in range(120)))
    await _sign_up(fast, "waits@example.org")
    await ledger.pool.execute("UPDATE stranger_mail_budget SET spent_until = now()")
    await _sign_up(fast, "goes@example.org")
    waits = {
        row["payload"]["to"]["email"]: row["due_at"] > row["created_at"]
        for row in await ledger.rows("outbox", effect="mail")
    }
    assert (waits["waits@example.org"], waits["goes@example.org"]) == (True, False)


async def test_ten_thousand_signups_at_ten_victims_in_a_day_send_each_five_mails_and_stop_no_real_person(
    ledger: SignupLedger, let_pass: Pass
) -> None:
    limited = replace(ledger, policy=replace(ledger.policy, mails_per_hour=20))
    victims = [f"victim-{number}@example.org" for number in range(10)]
    incidents = Incidents(ledger.pool, actor="test", mailed=True)
    rules = {rule.name: rule for rule in ALERT_RULES}
    rounds = 1_000
    for number in range(rounds):
        await limited.sign_up(*victims)
        await let_pass(0.99 * DAY / rounds)
        if number == rounds // 2:
            assert await _sign_up(limited, "real@example.org")
        if number % 20 == 0:
            row = await ledger.pool.fetchrow(ALERT_SYMPTOMS, "signup-worker", ["mail"])
            assert row is not None
            seen = [symptom for symptom in symptoms_in(row, mails_per_hour=60) if "stranger" in symptom.name]
            await incidents.record(seen, rules, [], quiet_seconds=3600)
    sent = Counter(row["payload"]["to"]["email"] for row in await ledger.rows("outbox", effect="mail"))
    assert sent == dict.fromkeys(victims, 5) | {"real@example.org": 1}
    red = "SELECT count(*) FROM alerts WHERE name = 'stranger_mails_spent'"
    owed = "SELECT count(*) FROM alert_notices"
    assert [await ledger.pool.fetchval(query) for query in (red, owed)] == [1, 1]


async def test_through_the_api_many_addresses_of_clients_get_no_further_than_one(
    ledger: SignupLedger, signup_settings: Settings, redis_url: str, let_pass: Pass
) -> None:
    """The limits by address and by network are the shipped ones. STRANGER_ROUNDS=1000 makes it 10,000 signups."""
    limited = {
        "signup_limit_per_ip": Settings.model_fields["signup_limit_per_ip"].default,
        "signup_trusted_proxies": "127.0.0.0/8",
        "signup_mails_per_hour": 20,
        "redis_url": redis_url,
    }
    victims = [f"victim-{number}@example.org" for number in range(10)]
    incidents = Incidents(ledger.pool, actor="test", mailed=True)
    rules = {rule.name: rule for rule in ALERT_RULES}
    rounds = int(os.environ.get("STRANGER_ROUNDS", "80"))
    statuses: Counter[int] = Counter()
    async with running(create_app(signup_settings.model_copy(update=limited)), ledger.clone.database) as api:

        async def post(email: str, sender: int) -> None:
            address = f"198.{18 + sender % 2}.{sender // 2 % 250}.{sender // 500}"
            body = {"email": email, "name": "Åsa"}
            answer = await api.http.post("/v1/signups", json=body, headers={"X-Forwarded-For": address})
            statuses[answer.status_code] += 1

        for number in range(rounds):
            await asyncio.gather(*(post(email, (10 * number + n) % (5 * rounds)) for n, email in enumerate(victims)))
            await let_pass(0.99 * DAY / rounds)
            if number == rounds // 2:
                await post("real@example.org", 5_000)
            if number % 4 == 0:
                row = await ledger.pool.fetchrow(ALERT_SYMPTOMS, "signup-worker", ["mail"])
                assert row is not None
                seen = [symptom for symptom in symptoms_in(row, mails_per_hour=60) if "stranger" in symptom.name]
                await incidents.record(seen, rules, [], quiet_seconds=3600)
    assert statuses == {202: 10 * rounds + 1}, "no limit by address or network comes into it"
    sent = Counter(row["payload"]["to"]["email"] for row in await ledger.rows("outbox", effect="mail"))
    assert sent == dict.fromkeys(victims, 5) | {"real@example.org": 1}
    red = "SELECT count(*) FROM alerts WHERE name = 'stranger_mails_spent'"
    owed = "SELECT count(*) FROM alert_notices"
    assert [await ledger.pool.fetchval(query) for query in (red, owed)] == [1, 1]


async def test_without_a_limit_no_signup_waits_for_another(ledger: SignupLedger) -> None:
    await _sign_up(ledger)
    assert await ledger.pool.fetchval("SELECT spent_until < now() FROM stranger_mail_budget")
