"""Incident 13: a fault goes unnoticed, or operators are paged for nothing."""

from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest

from local.ports import pick_free
from tests.support.running import open_ledgers, started, wanted_pooler
from tests.support.scripted_smtp import ScriptedSmtp, scripted_smtp
from tests.support.stack import Ledgers, Stack, eventually

OPERATORS = "operators@x.example"
MAKE_DEAD = """
UPDATE outbox SET state = 'dead', due_at = NULL, lease = NULL, dead_at = now(), last_error = 'no' WHERE effect = $1
"""
# A symptom becomes an incident after minutes; backdating saves the wait.
SILENT_FOR_LONG = "UPDATE heartbeats SET at = at - interval '2 minutes'"
SEEN_FOR_LONG = "UPDATE alerts SET since = since - interval '10 minutes' WHERE name = $1 AND opened_at IS NULL"


@pytest.fixture(scope="module")
def alerting_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with ALERT_EMAIL, which the shared stack does not set."""
    settings = {
        "ALERT_EMAIL": OPERATORS,
        "ALERT_SECONDS": "2",  # a notice that takes longer to send goes past the mail service twice
        "ALERT_SMTP_URL": f"smtp://127.0.0.1:{pick_free()}",
        # One line of configuration makes it a warning.
        "MAIL_CHECK_SEVERITY": "content_missing=warning",
    }
    directory = tmp_path_factory.mktemp("alerting")
    with started(Stack(directory, settings, pooler=wanted_pooler(directory))) as stack:
        yield stack


@pytest.fixture
async def alerting(alerting_stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(alerting_stack) as ledgers:
        yield ledgers


@pytest.fixture
async def alert_smtp(alerting_stack: Stack) -> AsyncIterator[ScriptedSmtp]:
    """The SMTP server at ALERT_SMTP_URL, for alerts that cannot use the mail service."""
    port = int(alerting_stack.settings["ALERT_SMTP_URL"].rpartition(":")[2])
    async with scripted_smtp(port=port) as server:
        yield server


def subjects(server: ScriptedSmtp) -> list[str]:
    """The sorted subjects of the alerts that the server accepted."""
    assert {mail.recipient for mail in server.accepted} <= {OPERATORS}
    return sorted(message_from_bytes(mail.data, policy=policy.default)["Subject"] for mail in server.accepted)


async def alert_subjects(ledgers: Ledgers) -> list[str]:
    return sorted(mail["Subject"] for mail in await ledgers.caught(OPERATORS))


async def until_open(ledgers: Ledgers, service: str, name: str) -> dict[str, Any]:
    """Backdate the symptom, wait until the incident is open, and return it."""
    http = ledgers.signup if service == "signup" else ledgers.mail

    async def open_alerts() -> list[dict[str, Any]]:
        await ledgers.execute(service, SEEN_FOR_LONG, name)
        return [alert for alert in await alerts(http, name) if alert["closed_at"] is None]

    (alert,) = await eventually(open_alerts, bool, what=f"{name} of {service}")
    return alert


async def until_closed(ledgers: Ledgers, service: str, alert: dict[str, Any]) -> dict[str, Any]:
    """Wait until the incident is closed and its last mail is sent."""
    http = ledgers.signup if service == "signup" else ledgers.mail

    async def current() -> dict[str, Any]:
        (found,) = [other for other in await alerts(http, alert["name"]) if other["id"] == alert["id"]]
        return found

    return await eventually(
        current,
        lambda seen: seen["closed_at"] is not None and seen["mails_owed"] == 0,
        what=f"the end of {alert['name']}",
    )


async def alerts(http: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    return [alert for alert in (await http.get("/audit/alerts")).json()["items"] if alert["name"] == name]


async def test_an_incident_is_one_mail_when_it_opens_and_one_when_it_is_over(alerting: Ledgers) -> None:
    alerting.stack.kill("signup-worker")
    await alerting.sign_up("story13@x.example")
    await alerting.execute("signup", MAKE_DEAD, "mail")
    alerting.stack.start("signup-worker")

    opened = "Counterfoil: retry or cancel 1 dead outbox row"
    await eventually(lambda: alert_subjects(alerting), lambda subjects: subjects == [opened], what="the alert")
    first = (await alerts(alerting.signup, "outbox_dead"))[0]["seen_at"]
    # The API and the worker have observed it again.
    await eventually(
        lambda: alerts(alerting.signup, "outbox_dead"),
        lambda found: found[0]["seen_at"] > first,
        what="another observation",
    )
    health = (await alerting.signup.get("/health")).json()["checks"]["alerts"]
    assert health["status"] == "warn"
    assert opened.partition(": ")[2] in health["detail"]
    assert await alert_subjects(alerting) == [opened]
    assert (await alerting.signup.post("/audit/outbox/retry", json={"state": "dead"})).json() == {"retried": 1}
    await eventually(lambda: alert_subjects(alerting), lambda subjects: len(subjects) == 2, what="the end of it")
    assert await alert_subjects(alerting) == ["Counterfoil: closed: retry or cancel 1 dead outbox row", opened]
    (alert,) = await alerts(alerting.signup, "outbox_dead")
    assert (alert["severity"], alert["mails_sent"], alert["closed_at"] is None) == ("red", 2, False)
    await eventually(
        lambda: alerting.caught("story13@x.example"), lambda found: len(found) == 1, what="the mail itself"
    )


async def test_a_warning_is_counted_and_sends_no_mail(alerting: Ledgers) -> None:
    before = len(await alerting.caught(OPERATORS))
    alerting.stack.kill("mail-worker")
    await alerting.sign_up("story13-warning@x.example")
    (mail,) = await eventually(
        lambda: alerting.mails(to="story13-warning@x.example"),
        lambda found: [mail["state"] for mail in found] == ["queued"],
    )
    await alerting.execute("mail", "DELETE FROM contents WHERE mail_id = $1", mail["id"])
    await alerting.mail.post("/audit/checks/run")
    (alert,) = await eventually(lambda: alerts(alerting.mail, "content_missing"), lambda found: len(found) == 1)
    assert (alert["severity"], alert["mails_sent"], alert["mails_owed"]) == ("warning", 0, 0)
    counted = 'alerts_opened_total{name="content_missing",severity="warning"} 1.0'
    await eventually(lambda: alerting.mail.get("/metrics"), lambda answer: counted in answer.text, what=counted)
    assert (await alerting.mail.post(f"/v1/mails/{mail['id']}/cancel")).status_code == 200
    alerting.stack.start("mail-worker")
    assert len(await alerting.caught(OPERATORS)) == before


async def test_a_worker_that_stays_dead_is_one_mail_from_the_other_processes_and_one_when_it_is_back(
    alerting: Ledgers,
) -> None:
    before = await alert_subjects(alerting)
    alerting.stack.kill("signup-worker")
    await alerting.execute("signup", SILENT_FOR_LONG)
    alert = await until_open(alerting, "signup", "worker_silent")
    opened, closed = "Counterfoil: start the signup worker", "Counterfoil: closed: start the signup worker"
    await eventually(lambda: alert_subjects(alerting), lambda subjects: opened in subjects, what="the alert")
    # The API observes it again and sends no second mail.
    await eventually(
        lambda: alerts(alerting.signup, "worker_silent"), lambda found: found[0]["seen_at"] > alert["seen_at"]
    )
    assert (await alerting.signup.get("/health")).json()["checks"]["worker"]["status"] == "fail"
    alerting.stack.start("signup-worker")
    over = await until_closed(alerting, "signup", alert)
    await eventually(lambda: alert_subjects(alerting), lambda subjects: closed in subjects, what="the end of it")
    assert await alert_subjects(alerting) == sorted([*before, opened, closed])
    assert over["mails_sent"] == 2


async def test_with_the_mail_api_down_alerts_go_past_it_and_are_not_repeated_when_it_is_back(
    alerting: Ledgers, alert_smtp: ScriptedSmtp
) -> None:
    before = await alert_subjects(alerting)
    alerting.stack.kill("mail-api")
    silent = await until_open(alerting, "signup", "mail_service_silent")
    opened = "Counterfoil: start the mail API: it does not answer"

    async def direct_subjects() -> list[str]:
        return subjects(alert_smtp)

    await eventually(direct_subjects, lambda found: opened in found, what="the alert, past the mail service")
    alerting.stack.start("mail-api")
    over = await until_closed(alerting, "signup", silent)
    closed = "Counterfoil: closed: start the mail API: it does not answer"
    await eventually(
        lambda: alert_subjects(alerting),
        # A mail service that has just started may take longer to answer than the alert waits for it.
        lambda by_mail: sorted([*by_mail, *subjects(alert_smtp)]) == sorted([*before, opened, closed]),
        what="the end, by mail or past it, and nothing twice",
    )
    assert [subject for subject in subjects(alert_smtp) if subject != closed] == [opened]
    assert over["mails_sent"] == 2


async def test_with_the_mail_worker_dead_both_services_alert_past_it_once_each(
    alerting: Ledgers, alert_smtp: ScriptedSmtp
) -> None:
    before = await alert_subjects(alerting)
    alerting.stack.kill("mail-worker")
    await alerting.execute("mail", SILENT_FOR_LONG)
    silent = await until_open(alerting, "mail", "worker_silent")
    # Signup sees that no mail leaves and sends its own alert directly too.
    alerting.stack.kill("signup-worker")
    await alerting.sign_up("story13-past@x.example")
    await alerting.execute("signup", MAKE_DEAD, "mail")
    alerting.stack.start("signup-worker")
    dead = await until_open(alerting, "signup", "outbox_dead")
    opened = ["Counterfoil: retry or cancel 1 dead outbox row", "Counterfoil: start the mail worker"]

    async def direct_subjects() -> list[str]:
        return subjects(alert_smtp)

    await eventually(direct_subjects, lambda found: found == opened, what="both alerts, past the mail service")
    alerting.stack.start("mail-worker")
    await until_closed(alerting, "mail", silent)
    assert (await alerting.signup.post("/audit/outbox/retry", json={"state": "dead"})).json() == {"retried": 1}
    await until_closed(alerting, "signup", dead)
    closed = [subject.replace("Counterfoil: ", "Counterfoil: closed: ") for subject in opened]
    expected = sorted([*before, *opened, *closed])
    # Which route the closing mails take depends on the process that first sees the worker again.
    await eventually(
        lambda: alert_subjects(alerting),
        lambda by_mail: sorted([*by_mail, *subjects(alert_smtp)]) == expected,
        what="the end of both",
    )
    assert opened == [subject for subject in subjects(alert_smtp) if "closed" not in subject]


async def test_with_every_gateway_down_the_alert_goes_past_them(alerting: Ledgers, alert_smtp: ScriptedSmtp) -> None:
    before = await alert_subjects(alerting)
    alerting.stack.kill("mail-worker")
    alerting.stack.start("mail-worker", MAIL_GATEWAYS=f"smtp://127.0.0.1:{pick_free()}?name=gone&connections=1")
    await alerting.sign_up("story13-gateway@x.example")
    down = await until_open(alerting, "mail", "gateways_down")
    opened = "Counterfoil: get the gateway gone to take mails again"

    async def direct_subjects() -> list[str]:
        return subjects(alert_smtp)

    await eventually(direct_subjects, lambda found: opened in found, what="the alert, past the gateways")
    assert await alerting.caught("story13-gateway@x.example") == []
    alerting.stack.kill("mail-worker")
    alerting.stack.start("mail-worker")
    await until_closed(alerting, "mail", down)
    (mail,) = await eventually(lambda: alerting.caught("story13-gateway@x.example"), bool, what="the mail that waited")
    assert mail["To"][0]["Address"] == "story13-gateway@x.example"
    closed = "Counterfoil: closed: get the gateway gone to take mails again"
    await eventually(
        lambda: alert_subjects(alerting),
        lambda by_mail: sorted([*by_mail, *subjects(alert_smtp)]) == sorted([*before, opened, closed]),
        what="the end",
    )
    assert [subject for subject in subjects(alert_smtp) if "closed" not in subject] == [opened]
