"""The trace spans of accepted mails."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.support.apis import Api
from tests.support.spans import KeptSpans, context_of, links_of, parent_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROW, CALL = f"00-{TRACE}-00f067aa0ba902b7", f"00-{TRACE[::-1]}-53995c3f42cd8ad8"


@pytest.fixture
async def kept(mail_api: Api) -> AsyncIterator[KeptSpans]:
    """Spans of mails only: the middleware that traces requests is left out here."""
    kept = KeptSpans()
    app_state = mail_api.app.state.mail
    mail_api.app.state.mail = replace(app_state, intake=replace(app_state.intake, tracing=kept.tracing))
    yield kept
    mail_api.app.state.mail = app_state


def a_mail(request_id: str, **more: Any) -> dict[str, Any]:
    to = {"email": "asa@example.org", "name": "Åsa Öberg"}
    return {"request_id": request_id, "to": to, "subject": "Hej", "text": "Hej Åsa", **more}


async def _stored(api: Api) -> dict[str, str]:
    rows = await api.database.pool.fetch("SELECT id::text, traceparent FROM mails")
    return {row["id"]: row["traceparent"] for row in rows}


async def test_each_mail_of_a_batch_has_a_span_with_its_own_parent_and_a_link_to_the_call(
    mail_api: Api, client: httpx.AsyncClient, kept: KeptSpans
) -> None:
    mails = [a_mail("a", traceparent=f"{ROW}-01"), a_mail("b")]
    answer = await client.post("/v1/mails/batch", json={"mails": mails}, headers={"traceparent": f"{CALL}-01"})
    ids = [result["mail"]["id"] for result in answer.json()["results"]]
    assert kept.summaries() == [("accept mail.queue", "queued", None)] * 2
    assert [parent_of(span) for span in kept.ended] == [ROW, CALL]
    assert [links_of(span) for span in kept.ended] == [[CALL], []]
    assert await _stored(mail_api) == {key: context_of(span) for key, span in zip(ids, kept.ended, strict=True)}
    assert dict(kept.ended[0].attributes or {}) == {
        "messaging.system": "counterfoil",
        "messaging.operation.name": "accept",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail.queue",
        "messaging.message.id": ids[0],
        "counterfoil.outcome": "queued",
    }


async def test_a_mail_that_is_requested_again_keeps_its_first_trace(
    mail_api: Api, client: httpx.AsyncClient, kept: KeptSpans
) -> None:
    for cause in (ROW, CALL):
        await client.post("/v1/mails/batch", json={"mails": [a_mail("a", traceparent=f"{cause}-01")]})
    assert [outcome for _, outcome, _ in kept.summaries()] == ["queued", "replayed"]
    assert parent_of(kept.ended[1]) == CALL
    assert list((await _stored(mail_api)).values()) == [context_of(kept.ended[0])]


async def test_the_spans_of_mails_hold_no_content(client: httpx.AsyncClient, kept: KeptSpans) -> None:
    await client.post("/v1/mails", json=a_mail("asas-first", metadata={"user_id": "asa-17"}, tags=["till-asa"]))
    (span,) = kept.ended
    text = span.to_json().lower()
    assert not [word for word in ("asa", "öberg", "hej", "till-", "shop") if word in text]
