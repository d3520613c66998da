"""Reading the ledger: one mail, in bulk, and as a list with every filter."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.mail.ledger import mail_list
from tests.support.apis import Api
from tests.support.databases import Clone


def _mail(request_id: str, **changes: Any) -> dict[str, Any]:
    return {"request_id": request_id, "to": {"email": "a@x.example"}, "subject": "S", "text": "T"} | changes


async def _send(client: httpx.AsyncClient, *mails: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.post("/v1/mails/batch", json={"mails": list(mails)})
    return [result["mail"] for result in answer.json()["results"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("request_id=one", ["one"]),
        ("request_id=one&request_id=two", ["two", "one"]),
        ("to=B%40X.example", ["two"]),
        ("to=c%40b%C3%BCcher.example", ["three"]),
        ("to=C%40xn--bcher-kva.example", ["three"]),
        ("state=queued", ["three", "two", "one"]),
        ("state=sent&state=failed", []),
        ("template=welcome", ["three"]),
        ("client=shop", ["three", "two", "one"]),
        ("client=another", []),
        ("tag=red", ["two", "one"]),
        ("tag=red&tag=blue&request_id=one", ["one"]),
        ("metadata.order=17", ["one"]),
        ("metadata.order=17&metadata.order=eighteen", ["two", "one"]),
        ("metadata.paid=true", ["two"]),
        ("accepted_after=2020-01-01T00:00:00Z", ["three", "two", "one"]),
        ("accepted_before=2020-01-01T00:00:00Z", []),
        ("sent_after=2020-01-01T00:00:00Z", []),
        ("state=queued&among=3", ["three", "two", "one"]),
        ("tag=red&among=2", ["two"]),
        ("sent_before=2120-01-01T00:00:00Z", []),
        ("tag=red&metadata.paid=true", ["two"]),
    ],
)
async def test_every_filter_finds_its_mails(client: httpx.AsyncClient, query: str, expected: list[str]) -> None:
    await _send(
        client,
        _mail("one", tags=["red"], metadata={"order": 17}),
        _mail("two", to={"email": "b@x.example"}, tags=["red", "blue"], metadata={"order": "eighteen", "paid": True}),
        {"request_id": "three", "to": {"email": "c@bücher.example"}, "template": "welcome", "variables": {"name": "C"}},
    )
    answer = await client.get(f"/v1/mails?{query}")
    assert answer.status_code == 200, answer.text
    assert [mail["request_id"] for mail in answer.json()["items"]] == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("state=lost", "state"),
        ("to=no-at-sign", "to"),
        ("accepted_after=yesterday", "accepted_after"),
        ("limit=0", "limit"),
        ("cursor=%21", "cursor"),
        ("recipient=a%40x.example", "recipient"),
    ],
)
async def test_an_invalid_filter_is_refused_by_name(client: httpx.AsyncClient, query: str, parameter: str) -> None:
    answer = await client.get(f"/v1/mails?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == parameter


async def test_pages_follow_each_other_newest_first_without_gaps_or_repeats(client: httpx.AsyncClient) -> None:
    sent = await _send(client, *(_mail(f"r{n}") for n in range(7)))
    seen: list[str] = []
    cursor = None
    while True:
        page = (await client.get("/v1/mails", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [mail["id"] for mail in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [mail["id"] for mail in reversed(sent)]


@pytest.mark.parametrize("query", ["to=rare@x.example", "state=queued&to=rare@x.example", "tag=rare"])
async def test_few_matches_are_looked_for_piece_by_piece_and_none_is_left_out(
    client: httpx.AsyncClient, query: str
) -> None:
    rare = {"to": {"email": "rare@x.example"}, "tags": ["rare"]}
    await _send(client, *(_mail(f"r{n}", **(rare if n in {0, 1, 5} else {})) for n in range(9)))
    found, pages = list[str](), 0
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"/v1/mails?{query}&among=2&limit=1{cursor and f'&cursor={cursor}'}")).json()
        found += [mail["request_id"] for mail in page["items"]]
        pages, cursor = pages + 1, page["next_cursor"]
    assert found == ["r5", "r1", "r0"]
    assert 5 <= pages <= 8


async def test_a_limit_above_the_maximum_is_accepted(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/mails?limit=100000")).status_code == 200


async def test_a_lookup_returns_the_known_mails_and_the_missing_ids(client: httpx.AsyncClient) -> None:
    (mail,) = await _send(client, _mail("one"))
    answer = (await client.post("/v1/mails/lookup", json={"request_ids": ["one", "two", "two"]})).json()
    assert answer == {"found": {"one": mail}, "missing": ["two"]}


async def test_only_a_key_for_all_mails_sees_mails_of_other_clients(mail_api: Api, client: httpx.AsyncClient) -> None:
    (mail,) = await _send(client, _mail("one"))
    async with await mail_api.as_client("batcher", ["mails:read"]) as batcher:
        assert (await batcher.get("/v1/mails")).json()["items"] == []
        assert (await batcher.post("/v1/mails/lookup", json={"request_ids": ["one"]})).json()["missing"] == ["one"]
        for path in ("", "/history", "/attempts"):
            assert (await batcher.get(f"/v1/mails/{mail['id']}{path}")).status_code == 404
    async with await mail_api.as_client("ops", ["mails:read", "mails:all"]) as ops:
        assert (await ops.get("/v1/mails")).json()["items"] == [mail]
        assert (await ops.post("/v1/mails/lookup", json={"request_ids": ["one"]})).json()["found"] == {"one": mail}
        assert (await ops.get(f"/v1/mails/{mail['id']}")).json()["id"] == mail["id"]


async def test_the_content_is_shown_as_it_was_pinned(client: httpx.AsyncClient) -> None:
    (mail,) = await _send(client, _mail("one", headers={"X-Order": "17"}, html="<p>T</p>"))
    content = (await client.get(f"/v1/mails/{mail['id']}?include=content")).json()["content"]
    assert (content["subject"], content["text"], content["html"]) == ("S", "T", "<p>T</p>")
    assert content["headers"] == {"X-Order": "17"}


async def test_keys_allow_only_what_their_scopes_allow(mail_api: Api) -> None:
    assert (await mail_api.http.get("/v1/mails")).status_code == 401
    wrong = {"Authorization": "Bearer cf_unknown_key"}
    assert (await mail_api.http.get("/v1/mails", headers=wrong)).status_code == 401
    async with await mail_api.as_client("batcher", ["mails:read"]) as batcher:
        refused = await batcher.post("/v1/mails", json=_mail("one"))
        assert refused.status_code == 403
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await batcher.get("/audit/history")).status_code == 403


async def test_history_is_found_by_request_id_client_and_related_ids(client: httpx.AsyncClient) -> None:
    (mail,) = await _send(client, _mail("one", metadata={"user_id": "u-1"}))
    await _send(client, _mail("two"))
    for subject in (mail["id"], "one", "u-1"):
        entries = (await client.get("/audit/history", params={"subject": subject})).json()["items"]
        assert [entry["subject"] for entry in entries] == [mail["id"]]
    by_client = (await client.get("/audit/history?subject=shop&kind=mail.accepted")).json()["items"]
    assert len(by_client) == 2


async def test_correlation_goes_from_the_request_into_the_ledger_and_back_to_the_caller(
    client: httpx.AsyncClient,
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-ID": "my-request-7", "traceparent": trace}
    answer = await client.post("/v1/mails", json=_mail("one"), headers=headers)
    assert answer.headers["X-Request-ID"] == "my-request-7"
    assert answer.headers["traceparent"] == trace
    (entry,) = (await client.get("/audit/history?subject=one")).json()["items"]
    assert entry["correlation_id"] == "my-request-7"


async def test_an_unsupported_method_is_answered_with_the_supported_ones(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/mails")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


async def test_among_counts_and_names_the_callers_own_mails_only(client: httpx.AsyncClient, mail_api: Api) -> None:
    """A cursor names the mail that the page ended at."""
    async with await mail_api.as_client("neighbour", ("mails:send", "mails:read")) as neighbour:
        own = await _send(neighbour, _mail("first"))
        await _send(client, *(_mail(f"theirs-{n}") for n in range(3)))
        own += await _send(neighbour, _mail("second"))
        seen, cursors, cursor = list[str](), list[str](), ""
        while True:
            page = (await neighbour.get(f"/v1/mails?among=1{cursor and f'&cursor={cursor}'}")).json()
            seen += [mail["id"] for mail in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = page["next_cursor"]
            cursors.append(cursor)
    assert seen == [mail["id"] for mail in reversed(own)]
    assert len(cursors) <= 2


async def test_a_time_at_the_end_of_the_calendar_is_a_filter_like_any_other(client: httpx.AsyncClient) -> None:
    await _send(client, _mail("one"))
    page = await client.get("/v1/mails?accepted_before=9999-12-31T12:00:00Z")
    assert [mail["request_id"] for mail in page.json()["items"]] == ["one"]


async def test_a_mail_whose_id_was_made_by_a_clock_that_is_ahead_is_found_by_the_time_of_the_database(
    client: httpx.AsyncClient, mail_database: Clone
) -> None:
    await _send(client, _mail("one"))
    await mail_database.as_owner("UPDATE mails SET accepted_at = accepted_at - interval '59 minutes'")
    soon_after = datetime.now(UTC) - timedelta(minutes=58)
    page = await client.get("/v1/mails", params={"accepted_before": soon_after.isoformat()})
    assert [mail["request_id"] for mail in page.json()["items"]] == ["one"]


async def test_a_mail_whose_id_was_made_by_a_clock_that_is_behind_is_found_by_the_time_of_the_database(
    client: httpx.AsyncClient, mail_database: Clone
) -> None:
    await _send(client, _mail("one"))
    await mail_database.as_owner("UPDATE mails SET accepted_at = accepted_at + interval '59 minutes'")
    not_long_before = datetime.now(UTC) + timedelta(minutes=58)
    page = await client.get("/v1/mails", params={"accepted_after": not_long_before.isoformat()})
    assert [mail["request_id"] for mail in page.json()["items"]] == ["one"]


async def test_a_list_by_the_time_of_sending_looks_at_so_many_of_the_older_mails_for_each_page_and_misses_none(
    client: httpx.AsyncClient, mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_list, "_LOOKED_AT", 2)
    await _send(
        client,
        *(
            _mail(f"m{n}", to={"email": f"m{n}@x.example"}, tags=[f"t{n}"], metadata={"user_id": str(n)})
            for n in range(5)
        ),
    )
    # Two of them are sent long after they were accepted.
    sent = "UPDATE mails SET state = 'sent', message_id = '<m@x.example>', next_attempt_at = NULL, sent_at = now() + {}"
    await mail_database.as_owner(sent.format("(request_id IN ('m0', 'm4'))::int * interval '3 hours'"))
    now = datetime.now(UTC)

    async def pages(**params: str) -> list[list[str]]:
        found, params = [], {"sent_after": (now + timedelta(minutes=170)).isoformat()} | params
        while True:
            page = (await client.get("/v1/mails", params=params)).json()
            found.append([mail["request_id"] for mail in page["items"]])
            if page["next_cursor"] is None:
                return found
            params["cursor"] = page["next_cursor"]

    # The first page ends behind the mails that were accepted later than that, the others after two.
    assert await pages() == [["m4"], [], ["m0"], []]
    assert await pages(accepted_before=now.isoformat()) == [["m4"], [], ["m0"]]
    assert await pages(sent_before=(now + timedelta(minutes=160)).isoformat()) == [[]]
    # What an index finds is on the first page, however old it is.
    for few in ({"request_id": "m0"}, {"to": "m0@x.example"}, {"tag": "t0"}, {"metadata.user_id": "0"}):
        assert await pages(**few) == [["m0"]], few
