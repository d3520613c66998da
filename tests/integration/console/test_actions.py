"""Each action in the console does what the call of the API does, and history says who did it in the console."""

from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.console import browsing
from tests.support.imports import ndjson, people
from tests.support.scripted_smtp import Misbehavior

from .conftest import Desk, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD = """
INSERT INTO outbox (effect, payload, state, due_at, attempts, last_error, dead_at, expires_at)
SELECT 'mail', '{}', 'dead', NULL, 1, $1, now(), now() FROM generate_series(1, $2) RETURNING id
"""


async def _dead_rows(desk: Desk, error: str, count: int) -> list[UUID]:
    rows = await desk.signup.database.pool.fetch(DEAD, error, count)
    return [row["id"] for row in rows]


async def _states(desk: Desk, *rows: UUID) -> list[str]:
    query = "SELECT state FROM outbox WHERE id = ANY ($1::uuid[]) ORDER BY id"
    return [row["state"] for row in await desk.signup.database.pool.fetch(query, list(rows))]


async def test_a_group_of_dead_rows_is_redriven_and_another_reason_stays(desk: Desk, operator: Operator) -> None:
    rows = await _dead_rows(desk, f"refused {uuid4()}: 100% wrong_name", 2)
    rows += await _dead_rows(desk, f"refused {uuid4()}: 100% wrong_name", 1)
    rows += await _dead_rows(desk, "refused: 1000 wrongXname", 1)
    page = await operator.get("/console/outbox")
    assert "refused %: 100% wrong_name" in page.text
    (form,) = [f for f in page.forms if f.action == "/console/outbox/redrive" and "100" in dict(f.fields)["like"] and
               "1000" not in dict(f.fields)["like"]]  # fmt: skip
    done = await operator.post("/console/outbox/redrive", dict(form.fields))
    assert "Made due now: 3 rows." in done.text
    assert await _states(desk, *rows) == ["pending", "pending", "pending", "dead"]
    assert await desk.done_by(operator.who) == ["outbox.retried"] * 3


async def test_one_row_is_made_due_and_one_is_canceled(desk: Desk, operator: Operator) -> None:
    first, second = await _dead_rows(desk, "refused", 2)
    page = await operator.get(f"/console/outbox/{first}")
    assert "The row is due now." in (await operator.submit(page, f"/console/outbox/{first}/retry")).text
    page = await operator.get(f"/console/outbox/{second}")
    page = await operator.submit(page, f"/console/outbox/{second}/cancel")
    assert "its effect is not performed" in page.text
    assert f"/console/outbox/{second}/cancel" not in [form.action for form in page.forms]
    assert await _states(desk, first, second) == ["pending"]
    assert await desk.done_by(operator.who) == ["outbox.retried", "outbox.canceled"]


async def test_the_notice_of_an_action_is_told_once(desk: Desk, operator: Operator) -> None:
    (row,) = await _dead_rows(desk, "refused", 1)
    page = await operator.submit(await operator.get(f"/console/outbox/{row}"), f"/console/outbox/{row}/retry")
    assert "The row is due now." in page.text
    assert "The row is due now." not in (await operator.get(f"/console/outbox/{row}")).text


async def _uncertain(desk: Desk, operator: Operator, count: int = 1) -> list[str]:
    found = [await operator.ask_for_mail(f"held-{uuid4().hex}@example.org") for _ in range(count)]
    await desk.deliver({"dot": [Misbehavior.DROP] * 10})
    assert {await desk.mail_state(mail_id) for mail_id in found} == {"uncertain"}
    return found


async def test_an_uncertain_mail_shows_its_evidence_and_is_decided_with_a_reason(
    desk: Desk, operator: Operator
) -> None:
    sent, again, given_up = await _uncertain(desk, operator, 3)
    page = await operator.get("/console/uncertain")
    assert page.text.count("connection lost") >= 3
    for mail_id, resolution, state in (
        (sent, "sent", "sent"), (again, "resend", "queued"), (given_up, "abandon", "canceled"),
    ):  # fmt: skip
        page = await operator.submit(
            page, f"/console/mails/{mail_id}/resolve", {"reason": "The gateway's log has it", "as": resolution}
        )
        assert page.url.path == f"/console/mails/{mail_id}"
        assert await desk.mail_state(mail_id) == state
        page = await operator.get("/console/uncertain")
    assert not {f"/console/mails/{mail_id}" for mail_id in (sent, again, given_up)} & set(page.hrefs())
    assert await desk.done_by(operator.who, service="mail") == ["mail.resolved"] * 3
    history = await operator.get("/console/history?kind=mail.resolved")
    assert history.text.count(operator.who) == 3
    assert history.text.count("The gateway's log has it") == 3


async def test_a_decision_needs_a_reason(desk: Desk, operator: Operator) -> None:
    (mail_id,) = await _uncertain(desk, operator)
    page = await operator.get("/console/uncertain")
    for typed in ({"as": "sent", "reason": "  "}, {"as": "lost", "reason": "x"}, {"as": "sent", "reason": "a\nb"}):
        refused = await operator.submit(page, f"/console/mails/{mail_id}/resolve", typed)
        assert refused.status == 422
    assert await desk.mail_state(mail_id) == "uncertain"


async def test_a_decision_that_comes_too_late_says_so(desk: Desk, operator: Operator) -> None:
    (mail_id,) = await _uncertain(desk, operator)
    page = await operator.get("/console/uncertain")
    path = f"/console/mails/{mail_id}/resolve"
    assert (await operator.submit(page, path, {"reason": "first", "as": "sent"})).status == 200
    late = await operator.submit(page, path, {"reason": "second", "as": "abandon"})
    assert (late.status, "uncertain" in late.text) == (409, True)
    assert await desk.mail_state(mail_id) == "sent"


async def test_mails_are_retried_and_canceled(desk: Desk, operator: Operator) -> None:
    failed = await operator.ask_for_mail("failed@example.org")
    await desk.deliver({"RCPT": "550 5.7.1 no"})
    waiting = await operator.ask_for_mail("waits@example.org", send_at="2099-01-01T00:00:00Z")
    page = await operator.get(f"/console/mails/{failed}")
    assert "550 5.7.1 no" in page.text
    assert "due now" in (await operator.submit(page, f"/console/mails/{failed}/retry")).text
    page = await operator.get(f"/console/mails/{waiting}")
    assert "was canceled" in (await operator.submit(page, f"/console/mails/{waiting}/cancel")).text
    assert (await desk.mail_state(failed), await desk.mail_state(waiting)) == ("queued", "canceled")
    assert await desk.done_by(operator.who, service="mail") == ["mail.retried", "mail.canceled"]


async def test_addresses_are_suppressed_and_allowed_one_by_one_and_as_a_group(desk: Desk, operator: Operator) -> None:
    page = await operator.get("/console/suppressions")
    for number in range(3):
        page = await operator.submit(
            page, "/console/suppressions/add", {"email": f"no-{number}+x@example.org", "reason": "asked on the phone"}
        )
    assert page.text.count("asked on the phone") == 3
    page = await operator.submit(page, "/console/suppressions/remove", hidden={"email": "no-1+x@example.org"})
    assert "is mailed again" in page.text
    assert page.text.count("asked on the phone") == 2
    page = await operator.submit(page, "/console/suppressions/remove-group", {"source": operator.who})
    assert "Allowed again: 2." in page.text
    assert "No address is suppressed" in page.text
    done = ["address.suppressed"] * 3 + ["address.allowed", "suppressions.deleted"]
    assert await desk.done_by(operator.who, service="mail") == done


async def test_an_import_is_paused_resumed_and_canceled(desk: Desk, operator: Operator) -> None:
    headers = operator.bearer | {"Content-Type": "application/x-ndjson"}
    rows = [*people(3), {"external_id": "bad", "email": "<b>not</b>", "name": "N"}]
    async with httpx.AsyncClient(base_url=desk.url, headers=headers) as http:
        import_id = (await http.post("/v1/imports", content=ndjson(rows))).json()["id"]
    page = await operator.get("/console/imports")
    assert f"/console/imports/{import_id}" in page.hrefs()
    path = f"/console/imports/{import_id}"
    for event, words in (("pause", "is paused"), ("resume", "goes on"), ("cancel", "was canceled")):
        page = await operator.get(path)
        page = await operator.submit(page, f"{path}/{event}")
        assert words in page.text
    assert await desk.done_by(operator.who) == ["import.paused", "import.resumed", "import.canceled"]
    assert not [form for form in page.forms if form.action.startswith(path + "/")], "nothing is left to do"


async def test_an_import_of_another_client_is_not_shown(desk: Desk, operator: Operator) -> None:
    other = await desk.key("crm", ("users:import",), ())
    headers = {"Authorization": f"Bearer {other.text}", "Content-Type": "application/x-ndjson"}
    async with httpx.AsyncClient(base_url=desk.url, headers=headers) as http:
        import_id = (await http.post("/v1/imports", content=ndjson(people(1)))).json()["id"]
    assert import_id not in (await operator.get("/console/imports")).html
    assert (await operator.get(f"/console/imports/{import_id}")).status == 404


async def test_a_reconciliation_is_asked_for(desk: Desk, operator: Operator) -> None:
    page = await operator.submit(
        await operator.get("/console/reconciliation"), "/console/reconciliation/run", {"from": "2026-01-01T00:00"}
    )
    assert "The run is requested" in page.text
    assert await desk.done_by(operator.who) == ["reconciliation.requested"]
    wrong = await operator.submit(
        await operator.get("/console/reconciliation"), "/console/reconciliation/run", {"from": "2099-01-01T00:00"}
    )
    assert (wrong.status, "Must not lie in the future" in wrong.text) == (422, True)


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_the_checks_of_a_service_are_run(desk: Desk, operator: Operator, service: str) -> None:
    page = await operator.get("/console/checks")
    page = await operator.submit(page, "/console/checks/run", hidden={"service": service})
    assert f"All checks of the {service} service have run." in page.text
    clone = desk.signup if service == "signup" else desk.mail
    assert await clone.database.pool.fetchval("SELECT count(*) FROM check_results") > 5
    assert await desk.done_by(operator.who, service=service) == ["checks.requested"]


async def _subscribe(url: str, key: str, events: list[str]) -> str:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        answer = await http.post("/v1/webhooks", json={"url": "https://hooks.example.com/<b>", "events": events})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_deliveries_to_a_subscriber_are_shown_and_replayed(desk: Desk, operator: Operator) -> None:
    subscriber = await _subscribe(desk.url, operator.key, ["user.signed_up"])
    await desk.sign_up("hook@example.org", "Hook")
    page = await operator.get("/console/webhooks")
    path = f"/console/webhooks/signup/{subscriber}"
    assert path in page.hrefs()
    page = await operator.get(path)
    assert "user.signed_up" in page.text
    replayed = await operator.submit(page, f"{path}/replay", {"from": "2026-01-01T00:00"})
    assert "Delivered again:" in replayed.text
    assert await desk.done_by(operator.who) == ["webhook.replayed"]
    assert (await operator.submit(page, f"{path}/replay")).status == 422
    await desk.signup.as_owner("UPDATE webhook_subscribers SET disabled_at = now(), disabled_reason = 'gone <i>'")
    page = await operator.get(path)
    refused = await operator.submit(page, f"{path}/replay", {"from": "2026-01-01T00:00"})
    assert (refused.status, "Enable the subscriber first" in refused.text) == (409, True)
    enabled = await operator.submit(page, f"{path}/enable")
    assert "gets events again" in enabled.text
    assert await desk.done_by(operator.who) == ["webhook.replayed", "webhook.enabled"]


async def test_another_clients_subscriber_is_not_shown(desk: Desk, operator: Operator) -> None:
    other = await desk.key("crm", ("webhooks:manage",), ())
    subscriber = await _subscribe(desk.url, other.text, ["user.verified"])
    assert (await operator.get(f"/console/webhooks/signup/{subscriber}")).status == 404
    page = await operator.get("/console/webhooks")
    token = dict(page.form("/console/sign-out").fields)["token"]
    fields = {"token": token, "from": "2026-01-01T00:00"}
    assert (await operator.post(f"/console/webhooks/signup/{subscriber}/replay", fields)).status == 404


async def test_deliveries_of_the_mail_service_are_shown_and_replayed(desk: Desk, operator: Operator) -> None:
    subscriber = await _subscribe(desk.mail_url, operator.key, ["mail.sent"])
    path = f"/console/webhooks/mail/{subscriber}"
    assert path in (await operator.get("/console/webhooks")).hrefs()
    page = await operator.get(path)
    replayed = await operator.submit(page, f"{path}/replay", {"from": "2026-01-01T00:00"})
    assert "Delivered again: 0." in replayed.text
    assert await desk.done_by(operator.who, service="mail") == ["webhook.replayed"]


async def test_every_form_that_acts_is_refused_to_a_key_without_its_scope(desk: Desk, operator: Operator) -> None:
    reader = await desk.key("reader", ("audit:read", "users:read"), ("mails:read", "mails:all", "audit:read"))
    (row,) = await _dead_rows(desk, "refused", 1)
    (mail_id,) = await _uncertain(desk, operator)
    async with browsing(desk.url) as browser:
        page = await browser.sign_in(reader.text)
        token = dict(page.form("/console/sign-out").fields)["token"]
        for path in (
            f"/console/outbox/{row}/retry", f"/console/outbox/{row}/cancel", "/console/outbox/redrive",
            f"/console/mails/{mail_id}/resolve", f"/console/mails/{mail_id}/retry", "/console/suppressions/add",
            "/console/reconciliation/run", "/console/checks/run", f"/console/imports/{uuid4()}/pause",
            f"/console/webhooks/signup/{uuid4()}/replay",
        ):  # fmt: skip
            refused = await browser.post(path, {"token": token, "as": "sent", "reason": "x", "service": "signup"})
            assert refused.status == 403, path
        for path in (f"/console/outbox/{row}", f"/console/mails/{mail_id}", "/console/outbox", "/console/uncertain"):
            offered = [form.action for form in (await browser.get(path)).forms if form.method == "post"]
            assert offered == ["/console/sign-out"], path
    assert await _states(desk, row) == ["dead"]
    assert await desk.mail_state(mail_id) == "uncertain"
