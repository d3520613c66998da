"""P4: one mail per (client, request ID), for ever. A refused request leaves nothing behind."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.apis import Api
from tests.support.databases import Clone

MAIL: dict[str, Any] = {
    "request_id": "order-1",
    "to": {"email": "asa+test@bücher.example", "name": "Åsa Öberg"},
    "subject": "Your order",
    "text": "It is on its way.",
    "metadata": {"order": 17, "customer_id": "c-9"},
    "tags": ["orders"],
}


async def _rows(api: Api) -> dict[str, int]:
    return {
        table: await api.database.pool.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("mails", "contents", "queue")
    }


async def test_a_mail_is_accepted_with_its_content_queue_row_and_history(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/mails", json=MAIL)
    assert answer.status_code == 202, answer.text
    assert answer.content.endswith(b"\n")
    mail = answer.json()
    assert mail["state"] == "queued"
    assert mail["client"] == "shop"
    assert mail["to"] == {"email": "asa+test@bücher.example", "name": "Åsa Öberg"}
    assert mail["metadata"] == {"order": 17, "customer_id": "c-9"}
    assert mail["on_uncertain"] == "hold"
    assert await _rows(mail_api) == {"mails": 1, "contents": 1, "queue": 1}
    again = await client.get(f"/v1/mails/{mail['id']}")
    assert again.json() == mail | {"content": None} or again.json() == mail
    history = (await client.get(f"/v1/mails/{mail['id']}/history")).json()["items"]
    assert [(entry["kind"], entry["subject"]) for entry in history] == [("mail.accepted", mail["id"])]
    assert history[0]["related"] == ["order-1", "shop", "c-9"]


async def test_the_time_in_the_id_of_a_mail_is_the_databases_whatever_the_clock_of_the_api(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    a_day_behind = "LANGUAGE sql AS 'SELECT pg_catalog.uuidv7(-interval $$1 day$$)'"
    await mail_database.as_owner(
        f"CREATE SCHEMA behind; CREATE FUNCTION behind.uuidv7() RETURNS uuid {a_day_behind};"
        "GRANT USAGE ON SCHEMA behind TO mail_app;"
        "DO $$BEGIN EXECUTE format("
        "'ALTER DATABASE %I SET search_path = behind, pg_catalog, public', current_database()); END$$"
    )
    await mail_api.database.pool.expire_connections()
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    minted_at = datetime.fromtimestamp((UUID(mail["id"]).int >> 80) / 1000, UTC)
    assert datetime.fromisoformat(mail["accepted_at"]) - minted_at > timedelta(hours=23)
    assert mail["message_id"].startswith(f"<{mail['id']}@")


async def test_the_same_request_again_is_replayed_and_sends_nothing(mail_api: Api, client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/mails", json=MAIL)
    second = await client.post("/v1/mails", json={**MAIL, "correlation_id": "another", "lane": "live"})
    assert "Idempotent-Replayed" not in first.headers
    assert (second.status_code, second.headers["Idempotent-Replayed"]) == (202, "true")
    assert second.json() == first.json()
    assert await _rows(mail_api) == {"mails": 1, "contents": 1, "queue": 1}


async def test_fifty_equal_requests_at_once_make_one_mail_and_equal_answers(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(client.post("/v1/mails", json=MAIL) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert await _rows(mail_api) == {"mails": 1, "contents": 1, "queue": 1}


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"to": {"email": "b@x.example"}}, ["/to/email", "/to/name"]),
        ({"subject": "Other"}, ["/subject"]),
        ({"metadata": {"order": 18, "customer_id": "c-9"}}, ["/metadata/order"]),
        ({"metadata": {"order": True, "customer_id": "c-9"}}, ["/metadata/order"]),
        ({"tags": ["orders", "late"]}, ["/tags"]),
        ({"lane": "bulk"}, ["/lane"]),
        ({"html": "<p>It is on its way.</p>"}, ["/html"]),
        ({"to": {**MAIL["to"], "email": "asa+test@xn--bcher-kva.example"}}, []),
    ],
)
async def test_other_content_under_a_known_request_id_is_refused_naming_the_fields(
    client: httpx.AsyncClient, change: dict[str, Any], pointers: list[str]
) -> None:
    assert (await client.post("/v1/mails", json=MAIL)).status_code == 202
    answer = await client.post("/v1/mails", json=MAIL | change)
    if not pointers:  # the same address in its other spelling is the same content
        assert answer.status_code == 202
        return
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "/problems/request-id-reused"
    assert [error["pointer"] for error in problem["errors"]] == pointers


async def test_two_clients_may_use_the_same_request_id(mail_api: Api, client: httpx.AsyncClient) -> None:
    async with await mail_api.as_client("other", ["mails:send", "mails:read"]) as other:
        own_mail = (await client.post("/v1/mails", json=MAIL)).json()
        other_mail = (await other.post("/v1/mails", json=MAIL | {"subject": "Other"})).json()
        assert own_mail["id"] != other_mail["id"]
        assert (await other.get(f"/v1/mails/{own_mail['id']}")).status_code == 404
        assert [mail["id"] for mail in (await other.get("/v1/mails")).json()["items"]] == [other_mail["id"]]


async def test_the_request_id_may_come_in_the_header_and_must_agree_with_the_body(client: httpx.AsyncClient) -> None:
    body = {key: value for key, value in MAIL.items() if key != "request_id"}
    by_header = await client.post("/v1/mails", json=body, headers={"Idempotency-Key": "order-1"})
    assert by_header.json()["request_id"] == "order-1"
    by_body = await client.post("/v1/mails", json=MAIL, headers={"Idempotency-Key": "order-1"})
    assert by_body.headers["Idempotent-Replayed"] == "true"
    differing = await client.post("/v1/mails", json=MAIL, headers={"Idempotency-Key": "order-2"})
    assert (differing.status_code, differing.json()["type"]) == (400, "/problems/request-id-mismatch")
    missing = await client.post("/v1/mails", json=body)
    assert (missing.status_code, missing.json()["type"]) == (400, "/problems/request-id-required")


NASTY: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"to": {"email": "no-at-sign"}}, "/to/email"),
    "two addresses": ({"to": {"email": "a@x.example, b@x.example"}}, "/to/email"),
    "a line break in the address": ({"to": {"email": "a@x.example\r\nBcc: b@x.example"}}, "/to/email"),
    "a line break in the name": ({"to": {"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}}, "/to/name"),
    "a line break in the subject": ({"subject": "Hi\nBcc: b@x.example"}, "/subject"),
    "NUL in the text": ({"text": "a\0b"}, "/text"),
    "NUL in metadata": ({"metadata": {"k": "a\0b"}}, "/metadata/k"),
    "a reserved header": ({"headers": {"Message-ID": "<x@y>"}}, "/headers/Message-ID"),
    "a header name with a line break": ({"headers": {"X-A\r\nBcc": "b@x.example"}}, "/headers/X-A\r\nBcc"),
    "a header value with a line break": ({"headers": {"X-A": "1\r\nBcc: b"}}, "/headers/X-A"),
    "an unknown field": ({"cc": "b@x.example"}, "/cc"),
    "template and text at once": ({"template": "welcome"}, "/template"),
    "a time without an offset": ({"send_at": "2026-01-01T00:00:00"}, "/send_at"),
    "an expiry in the past": ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    "too long a request ID": ({"request_id": "x" * 256}, "/request_id"),
    "a request ID that is not ASCII": ({"request_id": "ordér"}, "/request_id"),
}


async def test_a_mail_of_the_last_second_of_the_calendar_can_be_read(client: httpx.AsyncClient) -> None:
    late = MAIL | {"send_at": "9999-12-31T23:59:59Z"}
    for _ in range(2):
        answer = await client.post("/v1/mails", json=late)
        assert (answer.status_code, answer.json()["send_at"]) == (202, "9999-12-31T23:59:59Z")
    (listed,) = (await client.get("/v1/mails")).json()["items"]
    assert listed["expires_at"].startswith("9999-12-31T23:59:59")


@pytest.mark.parametrize(("change", "pointer"), NASTY.values(), ids=NASTY.keys())
async def test_bad_input_names_its_field_leaves_nothing_behind_and_frees_the_id(
    mail_api: Api, client: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/v1/mails", json=MAIL | change)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert await _rows(mail_api) == {"mails": 0, "contents": 0, "queue": 0}
    assert (await client.post("/v1/mails", json=MAIL)).status_code == 202


# A field may have a short form or several forms. The problem points at the form that the client wrote.
WRITTEN = {
    "/from": {"from": "nope"},
    "/from/email": {"from": {"email": "nope"}},
    "/reply_to": {"reply_to": "nope"},
    "/to": {"to": "nope"},
    "/to/name": {"to": {"email": "a@x.example", "name": {}}},
    "/headers/X-A": {"headers": {"X-A": 1}},
    "/tags/1": {"tags": ["a", {}]},
    "/variables": {"variables": "nope"},
}


@pytest.mark.parametrize(("pointer", "change"), WRITTEN.items(), ids=WRITTEN.keys())
async def test_a_problem_points_at_what_the_client_wrote(
    client: httpx.AsyncClient, pointer: str, change: dict[str, Any]
) -> None:
    alone = await client.post("/v1/mails", json=MAIL | change)
    assert (alone.status_code, [error["pointer"] for error in alone.json()["errors"]]) == (422, [pointer])
    (result,) = (await client.post("/v1/mails/batch", json={"mails": [MAIL | change]})).json()["results"]
    assert [error["pointer"] for error in result["problem"]["errors"]] == [pointer]


async def test_a_problem_in_a_field_with_several_forms_points_at_the_field(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/erasures", json={"metadata": {"good": 1, "a/b": []}})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/metadata/a~1b"}


async def test_a_batch_is_checked_item_by_item_and_answered_in_order(mail_api: Api, client: httpx.AsyncClient) -> None:
    await client.post("/v1/mails", json=MAIL)
    batch = [
        MAIL | {"request_id": "new"},
        MAIL,
        MAIL | {"subject": "Other"},
        {"nonsense": True},
        17,
        MAIL | {"request_id": "new"},
        MAIL | {"request_id": "new", "subject": "Other"},
        MAIL | {"request_id": "t", "subject": None, "text": None, "template": "no-such-template"},
    ]
    results = (await client.post("/v1/mails/batch", json={"mails": batch})).json()["results"]
    assert [(result["request_id"], result["outcome"]) for result in results] == [
        ("new", "accepted"),
        ("order-1", "replayed"),
        ("order-1", "rejected"),
        (None, "rejected"),
        (None, "rejected"),
        ("new", "replayed"),
        ("new", "rejected"),
        ("t", "rejected"),
    ]
    assert results[0]["mail"]["id"] == results[5]["mail"]["id"]
    assert results[2]["problem"]["type"] == "/problems/request-id-reused"
    assert results[7]["problem"]["type"] == "/problems/unknown-template"
    assert await _rows(mail_api) == {"mails": 2, "contents": 2, "queue": 2}


async def test_concurrent_batches_with_the_same_ids_in_other_orders_do_not_deadlock(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mails = [MAIL | {"request_id": f"r{n}"} for n in range(100)]
    answers = await asyncio.gather(
        *(client.post("/v1/mails/batch", json={"mails": mails[::step]}) for step in (1, -1, 1, -1, 1, -1))
    )
    outcomes = [result["outcome"] for answer in answers for result in answer.json()["results"]]
    assert (outcomes.count("accepted"), outcomes.count("replayed")) == (100, 500)
    assert (await _rows(mail_api))["mails"] == 100


async def test_a_replay_needs_neither_its_template_nor_a_future_expiry(
    mail_api: Api, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await client.post(
        "/v1/mails", json={"request_id": "t", "to": {"email": "a@x.example"}, "template": "welcome",
                           "variables": {"name": "A"}}
    )  # fmt: skip
    assert made.status_code == 202, made.text
    # As after a deployment without this template.
    templates = mail_api.app.state.mail.intake.templates
    monkeypatch.setattr(templates, "_loaded", {"verification": templates._loaded["verification"]})
    again = await client.post(
        "/v1/mails", json={"request_id": "t", "to": {"email": "a@x.example"}, "template": "welcome",
                           "variables": {"name": "A"}}
    )  # fmt: skip
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json()["subject"] == made.json()["subject"]


async def test_a_suppressed_address_is_answered_at_accept_and_never_queued(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    await mail_api.database.pool.execute(
        "INSERT INTO suppressions (email_key, email, reason, source) VALUES ($1, $1, 'hard bounce', 'smtp')",
        "asa+test@xn--bcher-kva.example",
    )
    answer = await client.post("/v1/mails", json=MAIL)
    assert (answer.status_code, answer.json()["state"]) == (202, "suppressed")
    assert await _rows(mail_api) == {"mails": 1, "contents": 1, "queue": 0}
