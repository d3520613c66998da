"""Operator actions on single mails, and the states that allow them."""

from typing import Any

import httpx
import pytest

from services.mail.delivery.states import MailState
from services.mail.operator_actions.state_changes import ALLOWED
from tests.support.apis import Api

MAIL: dict[str, Any] = {"request_id": "one", "to": {"email": "a@x.example"}, "subject": "S", "text": "T"}

# Puts a mail into a state, with the rows that delivery would write.
SET_STATE = """
WITH dequeued AS (DELETE FROM queue WHERE $1 NOT IN ('queued', 'deferred', 'sending')),
     held AS (UPDATE queue SET lease = gen_random_uuid() WHERE $1 = 'sending'),
     tried AS (
         INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, transmitting_at, ended_at)
         SELECT id, 1, gen_random_uuid(), 'ended', 'unknown', true, now() - interval '1 hour', now() FROM mails
         WHERE $1 = 'uncertain'
     )
UPDATE mails SET state = $1, failure_reason = 'why',
    sent_at = CASE WHEN $1 IN ('sent', 'bounced') THEN now() END,
    next_attempt_at = CASE WHEN $1 IN ('queued', 'deferred', 'sending') THEN now() + interval '1 hour' END
"""


async def _mail_in(api: Api, client: httpx.AsyncClient, state: str) -> str:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    await api.database.pool.execute(SET_STATE, state)
    return str(mail["id"])


async def _queued(api: Api) -> int:
    count: int = await api.database.pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NULL AND due_at <= now()")
    return count


ACTIONS: dict[str, dict[str, Any] | None] = {
    "cancel": None,
    "retry": None,
    "resolve": {"as": "sent", "reason": "The recipient has it"},
}


@pytest.mark.parametrize("state", list(MailState))
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_works_in_its_allowed_states_and_names_them_in_all_others(
    mail_api: Api, client: httpx.AsyncClient, action: str, state: MailState
) -> None:
    mail_id = await _mail_in(mail_api, client, state)
    before = (await client.get(f"/v1/mails/{mail_id}")).json()
    answer = await client.post(f"/v1/mails/{mail_id}/{action}", json=ACTIONS[action])
    if state in ALLOWED[action]:
        assert answer.status_code == 200, answer.text
        newest = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"][0]
        assert newest["detail"]["state"] == answer.json()["state"]
        assert newest["actor"].startswith("key:shop/")
    else:
        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/wrong-state"
        assert answer.json()["allowed"] == list(ALLOWED[action])
        assert (await client.get(f"/v1/mails/{mail_id}")).json() == before


async def test_a_canceled_mail_leaves_the_queue(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "queued")
    assert (await client.post(f"/v1/mails/{mail_id}/cancel")).json()["state"] == "canceled"
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM queue") == 0


@pytest.mark.parametrize("state", ["failed", "expired", "deferred"])
async def test_a_retried_mail_is_due_at_once(mail_api: Api, client: httpx.AsyncClient, state: str) -> None:
    mail_id = await _mail_in(mail_api, client, state)
    await mail_api.database.pool.execute("UPDATE queue SET due_at = now() + interval '1 hour'")
    assert (await client.post(f"/v1/mails/{mail_id}/retry")).status_code == 200
    assert await _queued(mail_api) == 1


@pytest.mark.parametrize(("resolution", "state"), [("sent", "sent"), ("resend", "queued"), ("abandon", "canceled")])
async def test_an_uncertain_mail_gets_the_state_that_an_operator_resolves_it_to(
    mail_api: Api, client: httpx.AsyncClient, resolution: str, state: str
) -> None:
    mail_id = await _mail_in(mail_api, client, "uncertain")
    body = {"as": resolution, "reason": "Seen in the gateway's log"}
    mail = (await client.post(f"/v1/mails/{mail_id}/resolve", json=body)).json()
    assert mail["state"] == state
    # It was sent when its body left, not when an operator resolved it.
    assert (mail["sent_at"] or "9") < mail["accepted_at"] or state != "sent"
    assert await _queued(mail_api) == (1 if state == "queued" else 0)
    newest = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"][0]
    assert newest["detail"] == {"state": state, **body}


async def test_a_restored_mail_of_a_clock_that_runs_ahead_is_not_before_all_others_for_good(
    client: httpx.AsyncClient,
) -> None:
    ahead = {
        "request_id": "ahead",
        "fingerprint": "ab" * 32,
        "to": {"email": "b@x.example"},
        "message_id": "<a@x.example>",
    }
    answer = await client.post("/v1/mails/restore", json={"mails": [{**ahead, "sent_at": "2999-01-01T00:00:00Z"}]})
    assert answer.json()["restored"] == ["ahead"]
    later = (await client.post("/v1/mails", json=MAIL)).json()
    assert (await client.get("/v1/mails")).json()["items"][0]["id"] == later["id"]


async def test_a_mail_of_another_client_cannot_be_touched(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _mail_in(mail_api, client, "queued")
    async with await mail_api.as_client("other", ["mails:operate"]) as other:
        assert (await other.post(f"/v1/mails/{mail_id}/cancel")).status_code == 404
    async with await mail_api.as_client("ops", ["mails:operate", "mails:all"]) as ops:
        assert (await ops.post(f"/v1/mails/{mail_id}/cancel")).status_code == 200


async def test_a_mail_that_its_client_knows_as_sent_is_written_back_and_never_sent(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    known = (await client.post("/v1/mails", json=MAIL)).json()
    lost = {
        "request_id": "lost",
        "fingerprint": "ab" * 32,
        "to": {"email": "b@x.example"},
        "sent_at": "2026-01-01T00:00:00Z",
        "message_id": "<lost@x.example>",
    }
    again = {**lost, "request_id": "one"}
    answer = await client.post("/v1/mails/restore", json={"mails": [lost, again]})
    assert answer.json() == {"restored": ["lost"], "known": ["one"]}
    (restored,) = (await client.get("/v1/mails?request_id=lost")).json()["items"]
    assert (restored["state"], restored["restored"]) == ("sent", True)
    assert (restored["message_id"], restored["sent_at"]) == ("<lost@x.example>", "2026-01-01T00:00:00Z")
    before = (await client.get("/v1/mails?sent_before=2026-01-02T00:00:00Z")).json()["items"]
    assert before == [restored], "what was sent until then"
    assert (await client.get(f"/v1/mails/{known['id']}")).json() == known
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM queue") == 1
    # And the request ID is taken for ever: asking again with other content is refused, nothing is sent.
    assert (await client.post("/v1/mails", json=MAIL | {"request_id": "lost"})).status_code == 422


async def test_suppressions_are_put_listed_and_deleted(mail_api: Api, client: httpx.AsyncClient) -> None:
    path = "/v1/suppressions/Asa@b%C3%BCcher.example"
    assert (await client.put(path, json={"reason": "asked to"})).status_code == 201
    again = await client.put(path, json={"reason": "another"})
    assert (again.status_code, again.json()["reason"]) == (200, "asked to")
    await client.put("/v1/suppressions/b@x.example", json={"reason": "r"})
    first = (await client.get("/v1/suppressions?limit=1")).json()
    second = (await client.get("/v1/suppressions", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [item["email"] for item in first["items"] + second["items"]] == ["b@x.example", "Asa@bücher.example"]
    assert second["next_cursor"] is None
    mail = await client.post("/v1/mails", json=MAIL | {"to": {"email": "asa@xn--bcher-kva.example"}})
    assert mail.json()["state"] == "suppressed"
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    history = await mail_api.database.pool.fetch("SELECT kind, subject FROM history WHERE kind LIKE 'address.%'")
    assert [row["kind"] for row in history] == ["address.suppressed", "address.suppressed", "address.allowed"]
    assert not any("@" in row["subject"] for row in history)
