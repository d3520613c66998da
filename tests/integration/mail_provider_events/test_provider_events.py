"""What providers post over HTTP ends in the ledger like a bounce: once, and only when it is theirs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.apis import Api
from tests.support.mails import history_kinds
from tests.support.provider_events import NAMES, Call, sample_of, samples
from tests.support.provider_events.stand_ins import providers
from tests.support.stack import eventually

from .conftest import NewMail, Post, set_state, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTCOME = {"failed": "bounced", "other": "ignored"}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def _call(provider: str, *events: dict[str, Any], at: datetime | None = None) -> Call:
    return providers()[provider].call(list(events), at or datetime.now(UTC))


async def _results(post: Post, provider: str, call: Call) -> list[dict[str, Any]]:
    answer = await post(provider, call)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def _counted(api: Api, provider: str, outcome: str) -> float:
    text = (await api.operations.get("/metrics")).text
    label = f'mail_provider_events_total{{outcome="{outcome}",provider="{provider}"}} '
    return float(next(line for line in text.splitlines() if line.startswith(label)).removeprefix(label))


async def _is_suppressed(client: httpx.AsyncClient, mail: dict[str, Any]) -> str | None:
    items = (await client.get("/v1/suppressions", params={"limit": 500})).json()["items"]
    return next((item["source"] for item in items if item["email"] == mail["to"]["email"]), None)


@pytest.mark.parametrize("provider", NAMES)
async def test_every_event_of_a_provider_ends_in_the_ledger(
    api: Api, client: httpx.AsyncClient, post: Post, new_mail: NewMail, provider: str
) -> None:
    for name, sample in samples(provider).items():
        kind = sample.expect["kind"]
        outcome = OUTCOME.get(kind, kind)
        mail_id = await new_mail("sent")
        expected = {"outcome": outcome} | ({} if outcome == "ignored" else {"mail_id": mail_id})
        assert await _results(post, provider, _call(provider, sample.event(mail_id))) == [expected], name
        mail = (await client.get(f"/v1/mails/{mail_id}")).json()
        assert mail["state"] == ("bounced" if outcome == "bounced" else "sent"), name
        source = {"complaint": "complaint", "failed": "bounce"}.get(kind)
        assert await _is_suppressed(client, mail) == (source if sample.expect.get("suppresses") else None), name
        history = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"]
        kinds = {"bounced": "mail.bounced", "complaint": "mail.complained", "ignored": "mail.accepted"}
        assert history[0]["kind"] == kinds.get(outcome, f"mail.{outcome}"), name
        if outcome != "ignored":
            assert history[0]["actor"] == f"provider:{provider}"
        if outcome == "bounced":
            assert mail["failure"]["enhanced_code"] == sample.expect.get("status")
            assert mail["failure"]["code"] == sample.expect.get("code", mail["failure"]["code"])
            tried = sample.expect.get("was_tried", True)
            assert mail["failure"]["reason"].startswith("bounced" if tried else f"not sent on by {provider}")
        if outcome != "ignored":
            kept = (await client.get("/v1/bounces", params={"mail_id": mail_id})).json()["items"]
            assert [(item["provider"], item["outcome"]) for item in kept] == [(provider, outcome)]
    texts = str(await api.database.pool.fetch("SELECT detail, related FROM history"))
    assert "asa@" not in texts


@pytest.mark.parametrize("provider", NAMES)
async def test_a_call_with_a_bad_signature_changes_nothing(
    api: Api, client: httpx.AsyncClient, post: Post, new_mail: NewMail, provider: str
) -> None:
    mail_id = await new_mail("sent")
    before = await _counted(api, provider, "refused")
    call = _call(provider, sample_of(provider, "failed").event(mail_id))
    has_headers = provider not in {"mailgun", "ses"}  # whose signature is in the body
    for bad in (providers()[provider].forged(call), Call({}, call.body if has_headers else b"{}"), Call({}, b"")):
        answer = await post(provider, bad)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/signature-invalid")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "www-authenticate" in answer.headers
    assert (await client.get(f"/v1/mails/{mail_id}")).json()["state"] == "sent"
    assert await stored(api, mail_id) == 0
    assert await _counted(api, provider, "refused") == before + 3


@pytest.mark.parametrize("provider", NAMES)
async def test_the_same_call_again_changes_nothing(api: Api, post: Post, new_mail: NewMail, provider: str) -> None:
    mail_id = await new_mail("sent")
    event = sample_of(provider, "failed").event(mail_id)
    call = _call(provider, event)
    first = await _results(post, provider, call)
    assert await _results(post, provider, call) == first
    # Signed anew, as some providers do when they try again.
    assert await _results(post, provider, _call(provider, event)) == first
    assert first == [{"outcome": "bounced", "mail_id": mail_id}]
    assert await history_kinds(api.database.pool, UUID(mail_id)) == ["mail.accepted", "mail.bounced"]
    assert await stored(api, mail_id) == 1


@pytest.mark.parametrize("provider", ["ses", "mailgun", "sendgrid", "resend"])
async def test_a_call_that_was_signed_long_ago_is_refused(
    api: Api, post: Post, new_mail: NewMail, provider: str
) -> None:
    mail_id = await new_mail("sent")
    event = sample_of(provider, "failed").event(mail_id)
    answer = await post(provider, _call(provider, event, at=datetime.now(UTC) - timedelta(hours=26)))
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/signature-invalid")
    assert await stored(api, mail_id) == 0


@pytest.mark.parametrize("provider", NAMES)
async def test_an_event_about_an_unknown_mail_is_kept_and_counted(
    api: Api, client: httpx.AsyncClient, post: Post, provider: str
) -> None:
    before = await _counted(api, provider, "unmatched")
    for unknown in (uuid4(), "not-ours"):
        call = _call(provider, sample_of(provider, "failed").event(unknown))
        assert await _results(post, provider, call) == [{"outcome": "unmatched"}]
        assert await _results(post, provider, call) == [{"outcome": "unmatched"}]
    items = (await client.get("/v1/bounces", params={"outcome": "unmatched", "limit": 2})).json()["items"]
    assert [(item["provider"], item["kind"], item["mail_id"]) for item in items] == [(provider, "failed", None)] * 2
    assert await _counted(api, provider, "unmatched") == before + 4


@pytest.mark.parametrize("provider", NAMES)
async def test_of_equal_events_that_come_at_once_one_counts(
    api: Api, post: Post, new_mail: NewMail, provider: str
) -> None:
    mail_id = await new_mail("sent")
    event = sample_of(provider, "failed").event(mail_id)
    copied = _call(provider, event)
    calls = [copied, copied, _call(provider, event), _call(provider, event)]
    pool = api.database.pool
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM mails WHERE id = $1 FOR UPDATE", UUID(mail_id))
        posting = [asyncio.create_task(_results(post, provider, call)) for call in calls]
        await eventually(lambda: pool.fetchval(WAITING), lambda count: count == len(calls))
    assert await asyncio.gather(*posting) == [[{"outcome": "bounced", "mail_id": mail_id}]] * len(calls)
    assert await history_kinds(pool, UUID(mail_id)) == ["mail.accepted", "mail.bounced"]
    assert await stored(api, mail_id) == 1


@pytest.mark.parametrize("provider", NAMES)
async def test_of_two_failures_of_a_mail_at_once_one_is_the_bounce(
    api: Api, post: Post, new_mail: NewMail, provider: str
) -> None:
    mail_id = await new_mail("sent")
    calls = [_call(provider, sample_of(provider, "failed").event(mail_id)) for _ in range(2)]
    results = await asyncio.gather(*(_results(post, provider, call) for call in calls))
    assert results == [[{"outcome": "bounced", "mail_id": mail_id}]] * 2
    kinds = await history_kinds(api.database.pool, UUID(mail_id))
    assert kinds == ["mail.accepted", "mail.bounced", "mail.bounce_noted"]


@pytest.mark.parametrize("provider", ["sendgrid", "brevo"])
async def test_events_of_one_call_are_applied_one_by_one(
    api: Api, client: httpx.AsyncClient, post: Post, new_mail: NewMail, provider: str
) -> None:
    first, second = await new_mail("sent"), await new_mail("sent")
    before = await _counted(api, provider, "unreadable")
    failed, delayed, opened = (sample_of(provider, kind) for kind in ("failed", "delayed", "other"))
    events: list[Any] = [
        delayed.event(first),
        7,
        failed.event(first),
        {"event": None},
        opened.event(first),
        failed.event(second, second),
        failed.event(second, second),
        failed.event(uuid4()),
    ]
    results = await _results(post, provider, _call(provider, *events))
    assert results == [
        {"outcome": "delayed", "mail_id": first},
        {"outcome": "unreadable"},
        {"outcome": "bounced", "mail_id": first},
        {"outcome": "unreadable"},
        {"outcome": "ignored"},
        {"outcome": "bounced", "mail_id": second},
        {"outcome": "bounced", "mail_id": second},
        {"outcome": "unmatched"},
    ]
    # Those of one mail in their order.
    kinds = await history_kinds(api.database.pool, UUID(first))
    assert kinds == ["mail.accepted", "mail.delayed", "mail.bounced"]
    assert await history_kinds(api.database.pool, UUID(second)) == ["mail.accepted", "mail.bounced"]
    assert await _counted(api, provider, "unreadable") == before + 2
    assert (await client.get(f"/v1/mails/{second}")).json()["state"] == "bounced"


@pytest.mark.parametrize("provider", NAMES)
async def test_an_event_before_the_attempt_is_recorded_is_asked_for_again(
    api: Api, client: httpx.AsyncClient, post: Post, new_mail: NewMail, provider: str
) -> None:
    """The provider has the mail, and its reply is not recorded yet, or its worker died."""
    mail_id = await new_mail("sending")
    call = _call(provider, sample_of(provider, "failed").event(mail_id))
    answer = await post(provider, call)
    # Brevo gives a call up after 5xx.
    expected = (429, "send-later") if provider == "brevo" else (503, "send-again")
    assert (answer.status_code, answer.json()["type"]) == (expected[0], f"/problems/{expected[1]}")
    assert answer.headers["retry-after"] == "5"
    assert await stored(api, mail_id) == 0
    assert await _counted(api, provider, "still_sending") >= 1
    await set_state(api, mail_id, "sent")
    assert await _results(post, provider, call) == [{"outcome": "bounced", "mail_id": mail_id}]
    assert (await client.get(f"/v1/mails/{mail_id}")).json()["state"] == "bounced"


async def test_the_other_events_of_a_call_that_is_asked_for_again_count_once(
    api: Api, post: Post, new_mail: NewMail
) -> None:
    sending, sent = await new_mail("sending"), await new_mail("sent")
    sample = sample_of("sendgrid", "failed")
    call = _call("sendgrid", sample.event(sending), sample.event(sent))
    assert (await post("sendgrid", call)).status_code == 503
    assert await history_kinds(api.database.pool, UUID(sent)) == ["mail.accepted", "mail.bounced"]
    await set_state(api, sending, "sent")
    results = await _results(post, "sendgrid", call)
    assert [result["outcome"] for result in results] == ["bounced", "bounced"]
    assert await history_kinds(api.database.pool, UUID(sent)) == ["mail.accepted", "mail.bounced"]


@pytest.mark.parametrize("kind", ["delivered", "delayed", "complaint", "failed"])
async def test_an_event_about_an_uncertain_mail_proves_that_it_was_sent(
    client: httpx.AsyncClient, post: Post, new_mail: NewMail, kind: str
) -> None:
    mail_id = await new_mail("uncertain")
    await _results(post, "postmark", _call("postmark", sample_of("postmark", kind).event(mail_id)))
    mail = (await client.get(f"/v1/mails/{mail_id}")).json()
    assert mail["state"] == ("bounced" if kind == "failed" else "sent")
    history = (await client.get(f"/v1/mails/{mail_id}/history")).json()["items"]
    assert history[1]["kind"] == "mail.resolved"
    assert history[1]["detail"] == {"state": "sent", "as": "sent", "reason": "its provider reports it"}


async def test_an_ignored_event_leaves_no_trace(api: Api, post: Post, new_mail: NewMail) -> None:
    """Opens and clicks may be many, and prove nothing that the ledger has to know."""
    mail_id = await new_mail("uncertain")
    for provider in NAMES:
        before = await _counted(api, provider, "ignored")
        call = _call(provider, sample_of(provider, "other").event(mail_id))
        assert await _results(post, provider, call) == [{"outcome": "ignored"}]
        assert await _counted(api, provider, "ignored") == before + 1
    assert await stored(api, mail_id) == 0
    assert await history_kinds(api.database.pool, UUID(mail_id)) == ["mail.accepted"]
