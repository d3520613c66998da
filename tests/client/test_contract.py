"""The client against the real mail service, and the fake of the pytest plugin against the same tests."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from counterfoil_client import Attachment, NewMail, Recipient, errors

from .conftest import MailService

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL: NewMail = {
    "request_id": "order-1",
    "to": Recipient("asa+test@bücher.example", "Åsa Öberg"),
    "subject": "Your order",
    "text": "It is on its way.",
    "metadata": {"order": 17, "customer_id": "c-9"},
    "tags": ["orders"],
}
RAW: dict[str, Any] = {**MAIL, "to": {"email": "asa+test@bücher.example", "name": "Åsa Öberg"}}
SOON = datetime.now(UTC) + timedelta(hours=1)


async def test_a_mail_is_accepted_and_read_back_as_it_was_asked_for(service: MailService) -> None:
    async with service.client("shop") as mail:
        sent = await mail.send(**MAIL)
        assert (sent.request_id, sent.client, sent.state, sent.lane) == ("order-1", "shop", "queued", "live")
        assert (sent.to_email, sent.to_name, sent.subject) == ("asa+test@bücher.example", "Åsa Öberg", "Your order")
        assert (sent.tags, sent.metadata, sent.on_uncertain) == (("orders",), MAIL["metadata"], "hold")
        assert (sent.attempts, sent.sent_at, sent.failure, sent.replayed) == (0, None, None, False)
        assert await mail.get(sent.id) == sent
        assert await mail.find("order-1") == sent
        assert await mail.find("order-2") is None


async def test_the_same_id_again_is_the_same_mail_and_says_so(service: MailService) -> None:
    async with service.client() as mail:
        first = await mail.send(**MAIL)
        again = await asyncio.gather(*(mail.send(**MAIL) for _ in range(20)), mail.send_once(**MAIL))
        assert {each.id for each in again} == {first.id}
        assert all(each.replayed for each in again)
        assert [each.id async for each in mail.mails()] == [first.id]


async def test_two_clients_may_use_the_same_id(service: MailService) -> None:
    async with service.client() as one, service.client() as other:
        another: Any = {"subject": "Another"}
        first, second = await one.send(**MAIL), await other.send(**{**MAIL, **another})
        assert first.id != second.id
        with pytest.raises(errors.NotFound):
            await other.get(first.id)
        assert [each.id async for each in other.mails()] == [second.id]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"to": "b@x.example"}, ("/to/email", "/to/name")),
        ({"subject": "Another"}, ("/subject",)),
        ({"metadata": {"order": 18, "customer_id": "c-9"}}, ("/metadata/order",)),
        ({"metadata": {"order": True, "customer_id": "c-9"}}, ("/metadata/order",)),
        ({"tags": ["orders", "late"]}, ("/tags",)),
        ({"lane": "bulk"}, ("/lane",)),
        ({"html": "<p>It is on its way.</p>"}, ("/html",)),
        ({"send_at": SOON}, ("/send_at",)),
        ({"attachments": [Attachment("a.txt", b"a", "text/plain")]}, ("/attachments/0",)),
    ],
)
async def test_other_content_under_a_known_id_is_refused_naming_the_fields(
    service: MailService, change: Any, fields: tuple[str, ...]
) -> None:
    async with service.client() as mail:
        await mail.send(**MAIL)
        with pytest.raises(errors.RequestIdReused) as caught:
            await mail.send(**{**MAIL, **change})
        assert caught.value.fields == fields


@pytest.mark.parametrize(
    "change",
    [
        {"to": Recipient("asa+test@xn--bcher-kva.example", "Åsa Öberg")},
        {"lane": "live"},
        {"correlation_id": "another", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        {"html": None},
    ],
)
async def test_what_is_not_content_may_differ(service: MailService, change: Any) -> None:
    async with service.client() as mail:
        first = await mail.send(**MAIL)
        assert (await mail.send(**{**MAIL, **change})).id == first.id


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"to": {"email": "no-at-sign"}}, "/to/email"),
    "two addresses": ({"to": {"email": "a@x.example, b@x.example"}}, "/to/email"),
    "no recipient": ({"to": None}, "/to"),
    "a bare recipient": ({"to": "a@x.example"}, "/to"),
    "a line break in the address": ({"to": {"email": "a@x.example\r\nBcc: b@x.example"}}, "/to/email"),
    "a line break in the name": ({"to": {"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}}, "/to/name"),
    "an unknown field of the recipient": ({"to": {"email": "a@x.example", "nick": "A"}}, "/to/nick"),
    "a line break in the subject": ({"subject": "Hi\nBcc: b@x.example"}, "/subject"),
    "an empty subject": ({"subject": ""}, "/subject"),
    "no subject": ({"subject": None}, "/subject"),
    "no text": ({"text": None}, "/text"),
    "NUL in the text": ({"text": "a\0b"}, "/text"),
    "NUL in metadata": ({"metadata": {"k": "a\0b"}}, "/metadata/k"),
    "too much metadata": ({"metadata": {"k": "x" * 5000}}, "/metadata"),
    "a tag that is no text": ({"tags": ["a", {}]}, "/tags/1"),
    "a reserved header": ({"headers": {"Message-ID": "<x@y>"}}, "/headers/Message-ID"),
    "a header value with a line break": ({"headers": {"X-A": "1\r\nBcc: b"}}, "/headers/X-A"),
    "a header value that is no text": ({"headers": {"X-A": 1}}, "/headers/X-A"),
    "an unknown field": ({"cc": "b@x.example"}, "/cc"),
    "template and text at once": ({"template": "welcome"}, "/template"),
    "variables without a template": ({"variables": {"a": 1}}, "/variables"),
    "a time without an offset": ({"send_at": "2026-01-01T00:00:00"}, "/send_at"),
    "an expiry in the past": ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    "a lane that there is not": ({"lane": "fast"}, "/lane"),
    "a policy that there is not": ({"on_uncertain": "guess"}, "/on_uncertain"),
    "a sender that is no address": ({"from": "nope"}, "/from"),
    "too long a request ID": ({"request_id": "x" * 256}, "/request_id"),
    "a request ID that is not ASCII": ({"request_id": "ordér"}, "/request_id"),
    "an attachment with a path": (
        {"attachments": [{"filename": "../a", "content_type": "text/plain", "content": "YQ=="}]},
        "/attachments/0/filename",
    ),
    "an attachment that is not Base64": (
        {"attachments": [{"filename": "a", "content_type": "text/plain", "content": "?"}]},
        "/attachments/0/content",
    ),
}


@pytest.mark.parametrize(("change", "field"), BAD.values(), ids=BAD.keys())
async def test_bad_input_names_its_field_leaves_nothing_behind_and_frees_the_id(
    service: MailService, change: dict[str, Any], field: str
) -> None:
    async with service.http() as http:
        answer = await http.post("/v1/mails", json=RAW | change)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert answer.headers["content-type"] == "application/problem+json"
        assert [error["pointer"] for error in answer.json()["errors"]] == [field]
        (result,) = (await http.post("/v1/mails/batch", json={"mails": [RAW | change]})).json()["results"]
        assert [error["pointer"] for error in result["problem"]["errors"]] == [field]
        assert (await http.get("/v1/mails")).json()["items"] == []
        assert (await http.post("/v1/mails", json=RAW)).status_code == 202


async def test_the_id_may_come_in_the_header_and_must_agree_with_the_body(service: MailService) -> None:
    body = {name: value for name, value in RAW.items() if name != "request_id"}
    async with service.http() as http:
        by_header = await http.post("/v1/mails", json=body, headers={"Idempotency-Key": "order-1"})
        assert by_header.json()["request_id"] == "order-1"
        differing = await http.post("/v1/mails", json=RAW, headers={"Idempotency-Key": "order-2"})
        assert (differing.status_code, differing.json()["type"]) == (400, "/problems/request-id-mismatch")
        missing = await http.post("/v1/mails", json=body)
        assert (missing.status_code, missing.json()["type"]) == (400, "/problems/request-id-required")
        assert [error["pointer"] for error in missing.json()["errors"]] == ["/request_id"]


@pytest.mark.parametrize(
    ("template", "variables", "kind", "fields"),
    [
        ("wellcome", {"name": "A"}, errors.UnknownTemplate, ("/template",)),
        ("welcome", {}, errors.VariablesRejected, ("/variables/name",)),
        ("welcome", {"name": "A", "surname": "B"}, errors.VariablesRejected, ("/variables/surname",)),
    ],
)
async def test_a_template_is_refused_with_what_it_lacks(
    service: MailService, template: str, variables: dict[str, Any], kind: type[errors.ApiError], fields: tuple[str, ...]
) -> None:
    async with service.client() as mail:
        with pytest.raises(kind) as caught:
            await mail.send(request_id="one", to="a@x.example", template=template, variables=variables)
        assert caught.value.fields == fields
        sent = await mail.send(request_id="one", to="a@x.example", template="welcome", variables={"name": "A"})
        assert (sent.template, sent.locale, sent.replayed) == ("welcome", "en", False)


async def test_a_bad_mail_of_a_batch_spoils_only_itself(service: MailService) -> None:
    async with service.client() as mail:
        await mail.send(**MAIL)
        results = await mail.send_batch(
            [
                {**MAIL, "request_id": "new"},
                MAIL,
                {**MAIL, "subject": "Another"},
                {**MAIL, "request_id": "bad", "to": "no-at-sign"},
                {**MAIL, "request_id": "new"},
            ]
        )
        assert [(result.request_id, result.outcome) for result in results] == [
            ("new", "accepted"),
            ("order-1", "replayed"),
            ("order-1", "rejected"),
            ("bad", "rejected"),
            ("new", "replayed"),
        ]
        assert [type(result.error) for result in results[2:4]] == [errors.RequestIdReused, errors.InvalidRequest]
        assert results[0].unwrap().id == results[4].unwrap().id


async def test_a_client_learns_what_was_sent_by_id_by_list_and_by_waiting(service: MailService) -> None:
    async with service.client() as mail:
        await mail.send(**MAIL)
        assert await mail.sent(["order-1", "never"]) == {}
        with pytest.raises(errors.UnknownRequestId):
            await mail.wait_until_sent("never")
        waiting = asyncio.create_task(mail.wait_until_sent("order-1", poll_seconds=0.01))
        await service.deliver()
        sent = await waiting
        assert (sent.state, sent.attempts, sent.is_settled) == ("sent", 1, True)
        assert await mail.sent(["order-1", "never"]) == {"order-1": sent.sent_at}
        assert [each.request_id async for each in mail.mails(state="sent")] == ["order-1"]
        looked_up = await mail.look_up(["never", "order-1"])
        assert (list(looked_up.found), looked_up.missing) == (["order-1"], ("never",))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["three", "two", "one"]),
        ({"request_id": ["one", "two"]}, ["two", "one"]),
        ({"to": "B@X.example"}, ["two"]),
        ({"to": "C@xn--bcher-kva.example"}, ["three"]),
        ({"state": ["sent", "failed"]}, []),
        ({"template": "welcome"}, ["three"]),
        ({"client": "another"}, []),
        ({"tag": ["red", "blue"], "request_id": "one"}, ["one"]),
        ({"metadata": {"order": "17"}}, ["one"]),
        ({"metadata": {"paid": "true"}, "tag": "red"}, ["two"]),
        ({"accepted_after": datetime(2020, 1, 1, tzinfo=UTC)}, ["three", "two", "one"]),
        ({"accepted_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
        ({"sent_after": datetime(2020, 1, 1, tzinfo=UTC)}, []),
    ],
)
async def test_every_filter_finds_its_mails(service: MailService, filters: Any, expected: list[str]) -> None:
    async with service.client() as mail:
        plain: Any = {"to": "a@x.example", "subject": "S", "text": "T"}
        named: Any = {"to": "c@bücher.example", "template": "welcome", "variables": {"name": "C"}}
        await mail.send(request_id="one", **plain, tags=["red"], metadata={"order": 17})
        await mail.send(
            request_id="two", **{**plain, "to": "b@x.example"}, tags=["red", "blue"], metadata={"paid": True}
        )
        await mail.send(request_id="three", **named)
        assert [each.request_id async for each in mail.mails(**filters)] == expected


@pytest.mark.parametrize(
    "query",
    [
        "/v1/mails?state=lost",
        "/v1/mails?recipient=a",
        "/v1/mails?limit=0",
        "/v1/mails?cursor=%21",
        "/v1/changes?after=abc",
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused_by_name(service: MailService, query: str) -> None:
    async with service.http() as http:
        answer = await http.get(query)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert answer.json()["errors"][0]["parameter"] == query.partition("?")[2].partition("=")[0]


async def test_pages_follow_each_other_without_gaps_or_repeats(service: MailService) -> None:
    async with service.client() as mail:
        await mail.send_batch([{**MAIL, "request_id": f"r{n}"} for n in range(501)])
        listed = [each.request_id async for each in mail.mails(tag="orders")]
        assert (len(listed), set(listed)) == (501, {f"r{n}" for n in range(501)})


async def test_the_feed_goes_on_from_the_callers_own_cursor(service: MailService) -> None:
    async with service.client() as mail:
        assert [change async for change in mail.follow(wait=False)] == []
        await mail.send_batch([{**MAIL, "request_id": f"r{n}"} for n in range(5)])
        changes = [change async for change in mail.follow(wait=False, page_size=2)]
        assert sorted(change.request_id for change in changes) == [f"r{n}" for n in range(5)]
        assert {(change.kind, change.state) for change in changes} == {("mail.accepted", "queued")}
        for handled in range(1, 6):  # stopped after each of them
            rest = [change async for change in mail.follow(changes[handled - 1].cursor, wait=False)]
            assert {change.id for change in changes[handled:]} <= {change.id for change in rest}
        assert rest == []
        await service.deliver()
        news = [change async for change in mail.follow(changes[-1].cursor, wait=False)]
        assert sorted((change.request_id, change.state) for change in news) == [(f"r{n}", "sent") for n in range(5)]
        assert all(change.sent_at for change in news)


async def test_a_follower_that_waits_sees_what_comes_later(service: MailService) -> None:
    async with service.client() as mail:
        following = mail.follow(poll_seconds=0.01)
        first, _ = await asyncio.gather(anext(following), mail.send(**MAIL))
        assert first.request_id == "order-1"
        second, _ = await asyncio.gather(anext(following), service.deliver())
        assert (second.mail_id, second.state) == (first.mail_id, "sent")


async def test_a_waiting_mail_can_be_canceled_and_no_other(service: MailService) -> None:
    async with service.client() as mail:
        waiting = await mail.send(**MAIL)
        assert (await mail.cancel(waiting.id)).state == "canceled"
        with pytest.raises(errors.WrongState) as caught:
            await mail.cancel(waiting.id)
        assert caught.value.problem.members["allowed"] == ["queued", "deferred"]
        with pytest.raises(errors.NotSent) as not_sent:
            await mail.wait_until_sent("order-1")
        assert not_sent.value.mail.state == "canceled"


async def test_a_call_without_a_key_or_to_no_place_is_a_problem(service: MailService) -> None:
    async with service.http() as http:
        unauthorized = await http.post("/v1/mails", json=RAW, headers={"Authorization": "Bearer wrong"})
        assert (unauthorized.status_code, unauthorized.json()["type"]) == (401, "/problems/unauthorized")
        nowhere = await http.get("/v1/mailz")
        assert (nowhere.status_code, nowhere.json()["type"]) == (404, "/problems/not-found")
        wrong = await http.delete("/v1/mails")
        assert (wrong.status_code, wrong.json()["type"]) == (405, "/problems/method-not-allowed")
        broken = await http.post("/v1/mails", content=b"{", headers={"Content-Type": "application/json"})
        assert (broken.status_code, broken.json()["type"]) == (422, "/problems/invalid-request")
        assert [error["pointer"] for error in broken.json()["errors"]] == [""]
