"""What clients and operators learn of a failure: in the mail while it lasts, in its attempts for good, on /health."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from services.mail.delivery.gateways.settings import Tls
from services.mail.process_names import WORKER
from shared.worker.heartbeats import Heartbeat
from tests.integration.mail.test_interventions import MAIL, SET_STATE
from tests.support.apis import Api
from tests.support.delivery import Rig, make_rig, smtp_gateway
from tests.support.notices import quoted_header, recipient_fields, report
from tests.support.scripted_smtp import Misbehavior, scripted_smtp

FAILURE = """
SELECT num_nonnulls(failure_reason, failure_code, failure_enhanced_code, failure_reply) FROM mails WHERE state = 'sent'
"""


async def _one_try(api: Api, rig: Rig) -> None:
    await api.database.pool.execute("UPDATE queue SET due_at = now()")
    await rig.delivery.run_once()
    await rig.finish()


async def test_a_mail_that_is_sent_has_no_failure_and_its_attempts_keep_the_reason(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = (await client.post("/v1/mails", json=MAIL)).json()["id"]
    script = {"banner": ["554 5.3.2 down"], "RCPT": ["450 4.2.1 later"]}
    async with scripted_smtp(script) as server:
        rig = make_rig(mail_api.database.pool, [smtp_gateway(server.port)])
        await _one_try(mail_api, rig)
        await _one_try(mail_api, rig)
        waiting = (await client.get(f"/v1/mails/{mail_id}")).json()
        assert (waiting["state"], waiting["failure"]["reason"]) == ("deferred", "deferred with 450 at RCPT")
        await _one_try(mail_api, rig)
        await rig.close()
    sent = (await client.get(f"/v1/mails/{mail_id}")).json()
    assert (sent["state"], sent["attempts"], sent["failure"]) == ("sent", 2, None)
    assert await mail_api.database.pool.fetchval(FAILURE) == 0
    attempts = (await client.get(f"/v1/mails/{mail_id}/attempts")).json()["items"]
    assert [(item["outcome"], item["reason"], item["reply"]) for item in attempts] == [
        ("accepted", None, "250 2.0.0 taken"),
        ("try_later", "deferred with 450 at RCPT", "450 4.2.1 later"),
        ("gateway_fault", "gateway not available (554 at connect)", "554 5.3.2 down"),
    ]


async def test_attempts_and_history_say_with_which_header_a_mail_went_and_until_when_the_gateway_is_asked(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = (await client.post("/v1/mails", json=MAIL)).json()["id"]
    async with scripted_smtp({"dot": [Misbehavior.DROP]}) as server:
        rig = make_rig(mail_api.database.pool, [smtp_gateway(server.port, idempotency_seconds=3600)])
        await _one_try(mail_api, rig)
        waiting = (await client.get(f"/v1/mails/{mail_id}")).json()
        assert (waiting["state"], waiting["attempts"]) == ("deferred", 1)
        assert waiting["failure"]["reason"] == "connection lost after the body had started; asked again at scripted"
        await _one_try(mail_api, rig)
        await rig.close()
    line = f"Resend-Idempotency-Key: {mail_id}"
    second, first = (await client.get(f"/v1/mails/{mail_id}/attempts")).json()["items"]
    assert (first["outcome"], second["outcome"]) == ("unknown", "accepted")
    assert first["idempotency_header"] == second["idempotency_header"] == line
    assert first["transmitting_at"] < first["ask_until"] == second["ask_until"]
    history = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"]
    assert [entry["detail"].get("idempotency_header") for entry in history] == [line, line, None]


@pytest.mark.parametrize("way", ["resolved by an operator", "known to its client", "proved by a notice"])
async def test_an_uncertain_mail_that_turns_out_to_be_sent_has_no_failure(
    way: str, mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    await mail_api.database.pool.execute(SET_STATE, "uncertain")
    known = {"sent_at": "2026-01-01T00:00:00Z", "message_id": "<first@x.example>", "even_if_known": True}
    known |= {"request_id": mail["request_id"], "fingerprint": mail["fingerprint"], "to": {"email": "a@x.example"}}
    if way == "resolved by an operator":
        await client.post(f"/v1/mails/{mail['id']}/resolve", json={"as": "sent", "reason": "The recipient has it"})
    elif way == "known to its client":
        await client.post("/v1/mails/restore", json={"mails": [known]})
    else:
        notice = report(quoted_header(mail["id"]), recipient_fields("delivered", "2.0.0", ""))
        await client.post("/v1/bounces", content=notice, headers={"Content-Type": "message/rfc822"})
    after = (await client.get(f"/v1/mails/{mail['id']}")).json()
    assert (after["state"], after["failure"]) == ("sent", None)
    assert await mail_api.database.pool.fetchval(FAILURE) == 0


async def test_an_operator_who_gives_a_mail_up_keeps_its_failure(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = (await client.post("/v1/mails", json=MAIL)).json()["id"]
    await mail_api.database.pool.execute(SET_STATE, "uncertain")
    answer = await client.post(f"/v1/mails/{mail_id}/resolve", json={"as": "abandon", "reason": "too late"})
    assert (answer.json()["state"], answer.json()["failure"]["reason"]) == ("canceled", "why")


async def test_a_failure_that_an_earlier_version_left_in_a_sent_mail_is_not_shown(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = (await client.post("/v1/mails", json=MAIL)).json()["id"]
    await mail_api.database.pool.execute(SET_STATE, "sent")
    assert (await client.get(f"/v1/mails/{mail_id}")).json()["failure"] is None


async def _gateway_check(api: Api, rig: Rig) -> dict[str, Any]:
    detail = {"gateways": [route.describe() for route in rig.gateways.routes]}
    await Heartbeat(api.database.pool, WORKER, lambda: detail).run_once()
    check: dict[str, Any] = (await api.operations.get("/health")).json()["checks"]["gateway:scripted"]
    return check


async def test_health_warns_and_the_log_says_why_from_the_first_fault_on(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/mails", json=MAIL)
    async with scripted_smtp() as server:
        rig = make_rig(mail_api.database.pool, [smtp_gateway(server.port, tls=Tls.STARTTLS)])
        with capture_logs() as logs:
            await _one_try(mail_api, rig)
        reason = rig.gateways.routes[0].breaker.last_fault
        check = await _gateway_check(mail_api, rig)
        assert (check["status"], check["observed_value"]) == ("warn", "closed")
        assert check["detail"] == f"{reason} (1 faults in a row)"
        assert [(line["event"], line["breaker"], line["reason"]) for line in logs if "breaker" in line] == [
            ("breaker_fault", "scripted", reason)
        ]
        rig.gateways.routes[0].breaker.succeeded()
        assert (await _gateway_check(mail_api, rig))["status"] == "pass"
        await rig.close()


async def test_fewer_connections_are_shown_and_are_no_warning(mail_api: Api, client: httpx.AsyncClient) -> None:
    rig = make_rig(mail_api.database.pool, [smtp_gateway(1, connections=8)])
    rig.gateways.routes[0].limit.turned_away(3, "too many connections (421 at connect)")
    check = await _gateway_check(mail_api, rig)
    assert (check["status"], check["detail"]) == (
        "pass",
        "3 of 8 connections are used, because the gateway turned more away",
    )
    (gateway,) = (await client.get("/v1/gateways")).json()["items"]
    assert (gateway["connections"], gateway["connections_allowed"], gateway["connections_open"]) == (8, 3, 0)
    assert gateway["faults_in_a_row"] == 0
    await rig.close()
