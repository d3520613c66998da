"""Incident 13: something is wrong and nobody notices, or everybody is paged for nothing."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.running import open_books
from tests.support.stack import Books, Stack, eventually

OPERATORS = "operators@x.example"
DIE = """
UPDATE outbox SET state = 'dead', due_at = NULL, lease = NULL, dead_at = now(), last_error = 'no' WHERE effect = $1
"""


@pytest.fixture(scope="module")
def watched_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: the others have nobody to alert."""
    settings = {
        "ALERT_EMAIL": OPERATORS,
        "ALERT_SECONDS": "0.2",
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
async def watched(watched_stack: Stack) -> AsyncIterator[Books]:
    async with open_books(watched_stack) as books:
        yield books


async def alerts(http: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    return [alert for alert in (await http.get("/audit/alerts")).json()["items"] if alert["name"] == name]


async def test_an_incident_is_one_mail_when_it_opens_and_one_when_it_is_over(watched: Books) -> None:
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


async def test_a_warning_is_counted_and_wakes_nobody(watched: Books) -> None:
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
