"""Incident 13: something is wrong and nobody notices, or everybody is paged for nothing."""

from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest

from local.ports import pick_free
from tests.support.running import open_ledgers
from tests.support.scripted_smtp import ScriptedSmtp, scripted_smtp
from tests.support.stack import Ledgers, Stack, eventually

OPERATORS = "operators@x.example"
DIE = """
UPDATE outbox SET state = 'dead', due_at = NULL, lease = NULL, dead_at = now(), last_error = 'no' WHERE effect = $1
"""
# What must last before it is an incident lasts for minutes; here it began minutes before it was first seen.
SILENT_FOR_LONG = "UPDATE heartbeats SET at = at - interval '2 minutes'"
SEEN_FOR_LONG = "UPDATE alerts SET since = since - interval '10 minutes' WHERE name = $1 AND opened_at IS NULL"


@pytest.fixture(scope="module")
def watched_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: the others have nobody to alert."""
    settings = {
        "ALERT_EMAIL": OPERATORS,
        "ALERT_SECONDS": "0.2",
        "ALERT_SMTP_URL": f"smtp://127.0.0.1:{pick_free()}",
        # One line makes it a warning.
        "MAIL_CHECK_SEVERITY": "content_missing=warning",
    }
    stack = Stack(tmp_path_factory.mktemp("watched"), settings)
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture
async def watched(watched_stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(watched_stack) as ledgers:
        yield ledgers


@pytest.fixture
async def past_the_mail_service(watched_stack: Stack) -> AsyncIterator[ScriptedSmtp]:
    """The SMTP server that alerts go to when the mail service is what is broken."""
    port = int(watched_stack.settings["ALERT_SMTP_URL"].rpartition(":")[2])
    async with scripted_smtp(port=port) as server:
        yield server


def subjects(server: ScriptedSmtp) -> list[str]:
    """Of the alerts that it took, sorted."""
    assert {mail.recipient for mail in server.accepted} <= {OPERATORS}
    return sorted(message_from_bytes(mail.data, policy=policy.default)["Subject"] for mail in server.accepted)


async def told_by_mail(ledgers: Ledgers) -> list[str]:
    return sorted(mail["Subject"] for mail in await ledgers.caught(OPERATORS))


async def until_open(ledgers: Ledgers, service: str, name: str) -> dict[str, Any]:
    """The incident, once somebody has seen it; that it has lasted for long enough is seen to."""
    http = ledgers.signup if service == "signup" else ledgers.mail

    async def look() -> list[dict[str, Any]]:
        await ledgers.execute(service, SEEN_FOR_LONG, name)
        return [alert for alert in await alerts(http, name) if alert["closed_at"] is None]

    (alert,) = await eventually(look, bool, what=f"{name} of {service}")
    return alert


async def until_closed(ledgers: Ledgers, service: str, alert: dict[str, Any]) -> dict[str, Any]:
    """The same incident when it is over and the last mail of it has been handed on."""
    http = ledgers.signup if service == "signup" else ledgers.mail

    async def look() -> dict[str, Any]:
        (found,) = [other for other in await alerts(http, alert["name"]) if other["id"] == alert["id"]]
        return found

    return await eventually(
        look, lambda seen: seen["closed_at"] is not None and seen["mails_owed"] == 0, what="the end"
    )


async def alerts(http: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    return [alert for alert in (await http.get("/audit/alerts")).json()["items"] if alert["name"] == name]


async def test_an_incident_is_one_mail_when_it_opens_and_one_when_it_is_over(watched: Ledgers) -> None:
    watched.stack.kill("signup-worker")
    await watched.sign_up("story13@x.example")
    await watched.execute("signup", DIE, "mail")
    watched.stack.start("signup-worker")

    async def told() -> list[str]:
        return sorted(mail["Subject"] for mail in await watched.caught(OPERATORS))

    opened = "Counterfoil: retry or cancel 1 dead outbox row"
    await eventually(told, lambda subjects: subjects == [opened], what="the alert")
    first = (await alerts(watched.signup, "outbox_dead"))[0]["seen_at"]
    # The API and the worker have looked again and again.
    await eventually(
        lambda: alerts(watched.signup, "outbox_dead"), lambda found: found[0]["seen_at"] > first, what="another look"
    )
    health = (await watched.signup.get("/health")).json()["checks"]["alerts"]
    assert health["status"] == "warn"
    assert opened.partition(": ")[2] in health["detail"]
    assert await told() == [opened]
    assert (await watched.signup.post("/audit/outbox/retry", json={"state": "dead"})).json() == {"retried": 1}
    await eventually(told, lambda subjects: len(subjects) == 2, what="the end of it")
    assert await told() == ["Counterfoil: closed: retry or cancel 1 dead outbox row", opened]
    (alert,) = await alerts(watched.signup, "outbox_dead")
    assert (alert["severity"], alert["mails_sent"], alert["closed_at"] is None) == ("red", 2, False)
    await eventually(lambda: watched.caught("story13@x.example"), lambda found: len(found) == 1, what="the mail itself")


async def test_a_warning_is_counted_and_wakes_nobody(watched: Ledgers) -> None:
    before = len(await watched.caught(OPERATORS))
    watched.stack.kill("mail-worker")
    await watched.sign_up("story13-warning@x.example")
    (mail,) = await eventually(
        lambda: watched.mails(to="story13-warning@x.example"),
        lambda found: [mail["state"] for mail in found] == ["queued"],
    )
    await watched.execute("mail", "DELETE FROM contents WHERE mail_id = $1", mail["id"])
    await watched.mail.post("/audit/checks/run")
    (alert,) = await eventually(lambda: alerts(watched.mail, "content_missing"), lambda found: len(found) == 1)
    assert (alert["severity"], alert["mails_sent"], alert["mails_owed"]) == ("warning", 0, 0)
    counted = 'alerts_opened_total{name="content_missing",severity="warning"} 1.0'
    await eventually(lambda: watched.mail.get("/metrics"), lambda answer: counted in answer.text, what=counted)
    assert (await watched.mail.post(f"/v1/mails/{mail['id']}/cancel")).status_code == 200
    watched.stack.start("mail-worker")
    assert len(await watched.caught(OPERATORS)) == before


async def test_a_worker_that_stays_dead_is_one_mail_by_whoever_lives_and_one_when_it_is_back(watched: Ledgers) -> None:
    before = await told_by_mail(watched)
    watched.stack.kill("signup-worker")
    await watched.execute("signup", SILENT_FOR_LONG)
    alert = await until_open(watched, "signup", "worker_silent")
    opened, closed = "Counterfoil: start the signup worker", "Counterfoil: closed: start the signup worker"
    await eventually(lambda: told_by_mail(watched), lambda told: opened in told, what="the alert")
    # The API looks on, and says nothing again.
    await eventually(
        lambda: alerts(watched.signup, "worker_silent"), lambda found: found[0]["seen_at"] > alert["seen_at"]
    )
    assert (await watched.signup.get("/health")).json()["checks"]["worker"]["status"] == "fail"
    watched.stack.start("signup-worker")
    over = await until_closed(watched, "signup", alert)
    await eventually(lambda: told_by_mail(watched), lambda told: closed in told, what="the end of it")
    assert await told_by_mail(watched) == sorted([*before, opened, closed])
    assert over["mails_sent"] == 2


async def test_with_the_mail_api_down_alerts_go_past_it_and_are_not_repeated_when_it_is_back(
    watched: Ledgers, past_the_mail_service: ScriptedSmtp
) -> None:
    before = await told_by_mail(watched)
    watched.stack.kill("mail-api")
    silent = await until_open(watched, "signup", "mail_service_silent")
    opened = "Counterfoil: start the mail API, it does not answer"

    async def told() -> list[str]:
        return subjects(past_the_mail_service)

    await eventually(told, lambda found: opened in found, what="the alert, past the mail service")
    watched.stack.start("mail-api")
    over = await until_closed(watched, "signup", silent)
    closed = "Counterfoil: closed: start the mail API, it does not answer"
    await eventually(lambda: told_by_mail(watched), lambda told: closed in told, what="the end, by mail again")
    assert subjects(past_the_mail_service) == [opened]
    assert await told_by_mail(watched) == sorted([*before, closed])
    assert over["mails_sent"] == 2


async def test_with_the_mail_worker_dead_both_services_alert_past_it_once_each(
    watched: Ledgers, past_the_mail_service: ScriptedSmtp
) -> None:
    before = await told_by_mail(watched)
    watched.stack.kill("mail-worker")
    await watched.execute("mail", SILENT_FOR_LONG)
    silent = await until_open(watched, "mail", "worker_silent")
    # Signup, which sees that nothing leaves, has something of its own to say.
    watched.stack.kill("signup-worker")
    await watched.sign_up("story13-past@x.example")
    await watched.execute("signup", DIE, "mail")
    watched.stack.start("signup-worker")
    dead = await until_open(watched, "signup", "outbox_dead")
    opened = ["Counterfoil: retry or cancel 1 dead outbox row", "Counterfoil: start the mail worker"]

    async def told() -> list[str]:
        return subjects(past_the_mail_service)

    await eventually(told, lambda found: found == opened, what="both alerts, past the mail service")
    watched.stack.start("mail-worker")
    await until_closed(watched, "mail", silent)
    assert (await watched.signup.post("/audit/outbox/retry", json={"state": "dead"})).json() == {"retried": 1}
    await until_closed(watched, "signup", dead)
    closed = [subject.replace("Counterfoil: ", "Counterfoil: closed: ") for subject in opened]
    everything = sorted([*before, *opened, *closed])
    # By which way the ends go out depends on who sees first that the worker is back.
    await eventually(
        lambda: told_by_mail(watched),
        lambda by_mail: sorted([*by_mail, *subjects(past_the_mail_service)]) == everything,
        what="the end of both",
    )
    assert opened == [subject for subject in subjects(past_the_mail_service) if "closed" not in subject]


async def test_with_every_gateway_out_of_order_the_alert_goes_past_them(
    watched: Ledgers, past_the_mail_service: ScriptedSmtp
) -> None:
    before = await told_by_mail(watched)
    watched.stack.kill("mail-worker")
    watched.stack.start("mail-worker", MAIL_GATEWAYS=f"smtp://127.0.0.1:{pick_free()}?name=gone&connections=1")
    await watched.sign_up("story13-gateway@x.example")
    down = await until_open(watched, "mail", "gateways_down")
    opened = "Counterfoil: get the gateway gone to take mails again"

    async def told() -> list[str]:
        return subjects(past_the_mail_service)

    await eventually(told, lambda found: opened in found, what="the alert, past the gateways")
    assert await watched.caught("story13-gateway@x.example") == []
    watched.stack.kill("mail-worker")
    watched.stack.start("mail-worker")
    await until_closed(watched, "mail", down)
    (mail,) = await eventually(lambda: watched.caught("story13-gateway@x.example"), bool, what="the mail that waited")
    assert mail["To"][0]["Address"] == "story13-gateway@x.example"
    closed = "Counterfoil: closed: get the gateway gone to take mails again"
    await eventually(
        lambda: told_by_mail(watched),
        lambda by_mail: sorted([*by_mail, *subjects(past_the_mail_service)]) == sorted([*before, opened, closed]),
        what="the end",
    )
    assert [subject for subject in subjects(past_the_mail_service) if "closed" not in subject] == [opened]
