"""A notice changes the record of its mail once, and never further than it proves."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.mail.delivery.states import MailState
from shared.contract.ids import uuid7
from tests.integration.mail.test_interventions import MAIL, SET_STATE
from tests.support.apis import Api
from tests.support.mails import history_kinds
from tests.support.notices import complaint, quoted_header, recipient_fields, report
from tests.support.stack import eventually

RFC822 = {"Content-Type": "message/rfc822"}
DELAYED = recipient_fields("delayed", "4.4.1", "smtp; 451 4.4.1 <b@x.example> later")
DELIVERED = recipient_fields("delivered", "2.0.0", "")
BLOCKED = recipient_fields("failed", "5.7.1", "smtp; 550 5.7.1 blocked")

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def _mail_in(api: Api, client: httpx.AsyncClient, state: str, **changes: Any) -> str:
    mail = (await client.post("/v1/mails", json=MAIL | changes)).json()
    await api.database.pool.execute(SET_STATE, state)
    return str(mail["id"])


async def _post(client: httpx.AsyncClient, raw: bytes) -> dict[str, Any]:
    answer = await client.post("/v1/bounces", content=raw, headers=RFC822)
    assert answer.status_code == 202, answer.text
    ingested: dict[str, Any] = answer.json()
    return ingested


async def _get(client: httpx.AsyncClient, mail_id: str) -> dict[str, Any]:
    mail: dict[str, Any] = (await client.get(f"/v1/mails/{mail_id}")).json()
    return mail


async def test_a_sent_mail_bounces_with_the_reply_of_the_server(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    before = await _get(client, mail_id)
    assert await _post(client, report(quoted_header(mail_id))) == {"outcome": "bounced", "mail_id": mail_id}
    mail = await _get(client, mail_id)
    assert (mail["state"], mail["sent_at"]) == ("bounced", before["sent_at"])
    assert mail["failure"] == {
        "reason": "bounced with 5.1.1",
        "code": 550,
        "enhanced_code": "5.1.1",
        "reply": "550 5.1.1 <b@x.example>: User unknown",
    }
    newest = (await client.get("/v1/changes")).json()["items"][-1]
    assert (newest["kind"], newest["mail_id"], newest["state"]) == ("mail.bounced", mail_id, "bounced")
    assert newest["detail"]["enhanced_code"] == "5.1.1"
    history = str(await mail_api.database.pool.fetch("SELECT detail, related FROM history"))
    assert "User unknown" not in history
    assert "@" not in history


async def test_the_same_notice_again_changes_nothing(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    raw = report(quoted_header(mail_id))
    answers = await asyncio.gather(*(_post(client, raw) for _ in range(5)))
    assert answers == [{"outcome": "bounced", "mail_id": mail_id}] * 5
    assert await history_kinds(mail_api.database.pool, UUID(mail_id)) == ["mail.accepted", "mail.bounced"]
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM bounces") == 1


async def test_one_of_two_concurrent_failure_notices_is_the_bounce(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    pool = mail_api.database.pool
    notices = [report(quoted_header(mail_id)), report(quoted_header(mail_id), BLOCKED)]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM mails FOR UPDATE")
        posting = [asyncio.create_task(_post(client, raw)) for raw in notices]
        await eventually(lambda: pool.fetchval(WAITING), lambda count: count == len(notices))
    assert [answer["outcome"] for answer in await asyncio.gather(*posting)] == ["bounced", "bounced"]
    kinds = await history_kinds(pool, UUID(mail_id))
    assert kinds == ["mail.accepted", "mail.bounced", "mail.bounce_noted"]


@pytest.mark.parametrize("state", [state for state in MailState if state != MailState.SENDING])
async def test_only_sent_and_uncertain_mails_bounce(mail_api: Api, client: httpx.AsyncClient, state: MailState) -> None:
    mail_id = await _mail_in(mail_api, client, state)
    before = await _get(client, mail_id)
    assert (await _post(client, report(quoted_header(mail_id))))["outcome"] == "bounced"
    after = await _get(client, mail_id)
    kinds = (await history_kinds(mail_api.database.pool, UUID(mail_id)))[1:]
    if state == MailState.SENT:
        assert (after["state"], kinds) == ("bounced", ["mail.bounced"])
    elif state == MailState.UNCERTAIN:
        assert (after["state"], kinds) == ("bounced", ["mail.resolved", "mail.bounced"])
    else:
        assert (after, kinds) == (before, ["mail.bounce_noted"])


async def test_a_notice_before_the_attempt_is_recorded_must_be_posted_again(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    """A gateway's 250 is recorded shortly after it arrives, or by a rescue if the worker died."""
    mail_id = await _mail_in(mail_api, client, "sending")
    raw = report(quoted_header(mail_id))
    answer = await client.post("/v1/bounces", content=raw, headers=RFC822)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/still-sending")
    assert answer.headers["retry-after"] == "5"
    assert (await client.get("/v1/bounces")).json()["items"] == []
    await mail_api.database.pool.execute(SET_STATE, "sent")
    assert await _post(client, raw) == {"outcome": "bounced", "mail_id": mail_id}
    assert (await _get(client, mail_id))["state"] == "bounced"
    # An ingested notice keeps its outcome, whatever the mail's later state.
    await mail_api.database.pool.execute(SET_STATE, "sending")
    assert await _post(client, raw) == {"outcome": "bounced", "mail_id": mail_id}


@pytest.mark.parametrize(
    ("raw", "kind"), [(DELAYED, "mail.delayed"), (DELIVERED, "mail.delivered"), (None, "mail.complained")]
)
async def test_a_notice_that_quotes_an_uncertain_mail_proves_that_it_was_sent(
    mail_api: Api, client: httpx.AsyncClient, raw: str | None, kind: str
) -> None:
    mail_id = await _mail_in(mail_api, client, "uncertain")
    quoted = quoted_header(mail_id)
    await _post(client, report(quoted, raw) if raw else complaint(quoted))
    mail = await _get(client, mail_id)
    # It was sent when its body was transmitted, not when the notice came.
    assert (mail["state"], mail["sent_at"] < mail["accepted_at"]) == ("sent", True)
    history = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"]
    assert [line["kind"] for line in history] == [kind, "mail.resolved", "mail.accepted"]
    assert history[1]["detail"] == {"state": "sent", "as": "sent", "reason": "bounce quotes it"}
    assert "state" not in history[0]["detail"]


@pytest.mark.parametrize(("status", "outcome"), [(DELAYED, "delayed"), (DELIVERED, "delivered")])
async def test_a_notice_without_a_failure_only_adds_a_history_entry(
    mail_api: Api, client: httpx.AsyncClient, status: str, outcome: str
) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    before = await _get(client, mail_id)
    assert await _post(client, report(quoted_header(mail_id), status)) == {"outcome": outcome, "mail_id": mail_id}
    assert await _get(client, mail_id) == before
    assert (await history_kinds(mail_api.database.pool, UUID(mail_id)))[-1] == f"mail.{outcome}"
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM suppressions") == 0


async def _suppressed_by(client: httpx.AsyncClient) -> list[tuple[str, str, str]]:
    items = (await client.get("/v1/suppressions")).json()["items"]
    return [(item["email"], item["source"], item["mail_id"]) for item in items]


async def test_a_dead_address_is_suppressed_and_a_blocked_one_is_not(mail_api: Api, client: httpx.AsyncClient) -> None:
    blocked = await _mail_in(mail_api, client, "sent")
    await _post(client, report(quoted_header(blocked), BLOCKED))
    assert await _suppressed_by(client) == []
    mail_id = await _mail_in(mail_api, client, "sent", request_id="two")
    await _post(client, report(quoted_header(mail_id)))
    assert await _suppressed_by(client) == [("a@x.example", "bounce", mail_id)]
    next_mail = await client.post("/v1/mails", json=MAIL | {"request_id": "three"})
    assert next_mail.json()["state"] == "suppressed"
    assert next_mail.json()["failure"]["reason"] == "bounced with 5.1.1"


async def test_a_notice_suppresses_only_the_mails_own_address(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent", to={"email": "Me@x.example"})
    forged = recipient_fields().replace("b@x.example", "victim@x.example")
    await _post(client, report(quoted_header(mail_id), forged))
    assert [email for email, _, _ in await _suppressed_by(client)] == ["Me@x.example"]


async def test_a_complaint_suppresses_the_address_and_is_in_history(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    assert await _post(client, complaint(quoted_header(mail_id))) == {"outcome": "complaint", "mail_id": mail_id}
    assert await _suppressed_by(client) == [("a@x.example", "complaint", mail_id)]
    assert (await _get(client, mail_id))["state"] == "sent"
    assert (await history_kinds(mail_api.database.pool, UUID(mail_id)))[-1] == "mail.complained"


async def test_a_mail_that_was_restored_is_found_by_its_message_id(client: httpx.AsyncClient) -> None:
    message_id = f"<{uuid7()}@counterfoil.example>"
    lost = {
        "request_id": "lost",
        "fingerprint": "ab" * 32,
        "to": {"email": "b@x.example"},
        "sent_at": "2026-01-01T00:00:00Z",
        "message_id": message_id,
    }
    await client.post("/v1/mails/restore", json={"mails": [lost]})
    (restored,) = (await client.get("/v1/mails?request_id=lost")).json()["items"]
    ingested = await _post(client, report(quoted_header(uuid7(), message_id)))
    assert ingested == {"outcome": "bounced", "mail_id": restored["id"]}


async def test_a_message_that_is_no_report_is_ignored_and_not_stored(mail_api: Api, client: httpx.AsyncClient) -> None:
    assert await _post(client, b"Subject: Re: Welcome\n\nThank you!") == {"outcome": "ignored", "mail_id": None}
    assert (await client.get("/v1/bounces")).json()["items"] == []
    mail_id = await _mail_in(mail_api, client, "uncertain")
    odd = report(quoted_header(mail_id), "Action: none\n")
    assert await _post(client, odd) == {"outcome": "ignored", "mail_id": mail_id}
    assert (await _get(client, mail_id))["state"] == "uncertain"


async def test_a_notice_about_another_clients_mail_is_unmatched_until_a_client_that_may_see_it_posts_it(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    raw = report(quoted_header(mail_id))
    async with await mail_api.as_client("other", ["mails:operate", "mails:read"]) as other:
        assert await _post(other, raw) == {"outcome": "unmatched", "mail_id": None}
        assert (await _get(client, mail_id))["state"] == "sent"
        async with await mail_api.as_client("ops", ["mails:operate", "mails:read", "mails:all"]) as ops:
            assert [item["outcome"] for item in (await ops.get("/v1/bounces")).json()["items"]] == ["unmatched"]
            assert await _post(ops, raw) == {"outcome": "bounced", "mail_id": mail_id}
        assert (await other.get("/v1/bounces")).json()["items"] == []
        assert await _post(other, raw) == {"outcome": "unmatched", "mail_id": None}
    assert (await _get(client, mail_id))["state"] == "bounced"
    (item,) = (await client.get("/v1/bounces", params={"mail_id": mail_id})).json()["items"]
    assert (item["mail_id"], item["kind"], item["status"], item["code"]) == (mail_id, "failed", "5.1.1", 550)


async def test_bounces_are_listed_by_mail_and_outcome_newest_first(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    other_id = await _mail_in(mail_api, client, "sent", request_id="two")
    await _post(client, report(quoted_header(mail_id), DELAYED))
    await _post(client, report(quoted_header(mail_id)))
    await _post(client, report(quoted_header(other_id)))
    first = (await client.get("/v1/bounces", params={"mail_id": mail_id, "limit": 1})).json()
    rest = (await client.get("/v1/bounces", params={"mail_id": mail_id, "cursor": first["next_cursor"]})).json()
    assert [item["outcome"] for item in first["items"] + rest["items"]] == ["bounced", "delayed"]
    bounced = (await client.get("/v1/bounces", params={"outcome": "bounced"})).json()["items"]
    assert [item["mail_id"] for item in bounced] == [other_id, mail_id]


async def test_an_erased_mail_keeps_no_replies_and_its_address_is_not_suppressed(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = await _mail_in(mail_api, client, "sent")
    raw = report(quoted_header(mail_id), DELAYED)
    await _post(client, raw)
    await client.post("/v1/erasures", json={"email": "a@x.example"})
    await _post(client, report(quoted_header(mail_id)))
    mail = await _get(client, mail_id)
    assert (mail["state"], mail["failure"]["reply"]) == ("bounced", None)
    assert await _suppressed_by(client) == []
    items = (await client.get("/v1/bounces")).json()["items"]
    assert [(item["outcome"], item["diagnostic"]) for item in items] == [("bounced", None), ("delayed", None)]


async def test_ingested_notices_are_counted_by_outcome(mail_api: Api, client: httpx.AsyncClient) -> None:
    await _post(client, report(quoted_header(uuid7())))
    await _post(client, b"Subject: hello\n\n")
    metrics = (await mail_api.operations.get("/metrics")).text
    assert 'mail_bounces_total{outcome="unmatched"} 1.0' in metrics
    assert 'mail_bounces_total{outcome="ignored"} 1.0' in metrics


async def test_a_body_that_cannot_be_a_message_is_refused(client: httpx.AsyncClient) -> None:
    cases: list[tuple[dict[str, str], bytes, int]] = [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({}, b"Subject: x\n\n", 415),
        (RFC822, b"", 422),
        (RFC822, b"x" * (10 << 20) + b"x", 413),
    ]
    for headers, content, status in cases:
        answer = await client.post("/v1/bounces", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_posting_notices_needs_the_scope_to_operate(mail_api: Api) -> None:
    async with await mail_api.as_client("reader", ["mails:read"]) as reader:
        assert (await reader.post("/v1/bounces", content=b"x", headers=RFC822)).status_code == 403
        assert (await reader.get("/v1/bounces")).status_code == 200


async def _waiting_again(api: Api, client: httpx.AsyncClient, *, in_doubt: bool = True) -> str:
    """A mail that an operator resends after an unknown attempt; or one that waits for its first attempt."""
    mail_id = await _mail_in(api, client, "uncertain" if in_doubt else "queued")
    if in_doubt:
        body = {"as": "resend", "reason": "Not in the gateway's log"}
        assert (await client.post(f"/v1/mails/{mail_id}/resolve", json=body)).json()["state"] == "queued"
    return mail_id


@pytest.mark.parametrize(
    ("fields", "state"), [(recipient_fields(), "bounced"), (DELAYED, "sent"), (DELIVERED, "sent"), (BLOCKED, "bounced")]
)
async def test_a_notice_that_proves_a_mail_was_sent_cancels_its_resend(
    mail_api: Api, client: httpx.AsyncClient, fields: str, state: str
) -> None:
    mail_id = await _waiting_again(mail_api, client)
    raw = report(quoted_header(mail_id), fields)
    first = await _post(client, raw)
    mail = await _get(client, mail_id)
    assert (mail["state"], mail["next_attempt_at"]) == (state, None)
    assert mail["sent_at"] < mail["accepted_at"], "when its body was transmitted"
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM queue") == 0
    assert "mail.resolved" in await history_kinds(mail_api.database.pool, UUID(mail_id))
    assert await _post(client, raw) == first


@pytest.mark.parametrize("reason", ["it was never in doubt", "a worker has it"])
async def test_a_notice_removes_no_other_mail_from_the_queue(
    mail_api: Api, client: httpx.AsyncClient, reason: str
) -> None:
    mail_id = await _waiting_again(mail_api, client, in_doubt=reason == "a worker has it")
    pool = mail_api.database.pool
    if reason == "a worker has it":
        await pool.execute("UPDATE queue SET lease = gen_random_uuid()")
        await pool.execute("UPDATE mails SET state = 'sending'")
    state = (await _get(client, mail_id))["state"]
    answer = await client.post("/v1/bounces", content=report(quoted_header(mail_id)), headers=RFC822)
    assert answer.status_code == (409 if reason == "a worker has it" else 202)
    assert (await _get(client, mail_id))["state"] == state
    assert await pool.fetchval("SELECT count(*) FROM queue") == 1
