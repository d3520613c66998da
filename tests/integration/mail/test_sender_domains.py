"""A client sends from its own domains only (ADR 0021)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.mail.app import create_app
from services.mail.audit.alerts import make_alert_loop
from services.mail.intake.from_settings import make_intake
from services.mail.settings import Settings
from services.signup.outbox.effects.mail import mail_request
from services.signup.outbox.retry_policy import ClaimedRow
from services.signup.verification_token import TokenRing
from shared.contract.ids import uuid7
from tests.support.apis import Api, running
from tests.support.databases import Clone

MAY_SEND = ("mails:send", "mails:read")


def _mail(request_id: str, **more: object) -> dict[str, Any]:
    return {"request_id": request_id, "to": {"email": "a@x.example"}, "subject": "S", "text": "T", **more}


@pytest.fixture
def settings(mail_database: Clone, redis_url: str) -> Settings:
    return Settings(
        mail_runtime_database_url=mail_database.runtime_url,
        redis_url=redis_url,
        mail_from="Shop <no-reply@shop.example>",
        mail_sender_domains="billing=invoices.example|bücher.example",
        alert_email="ops@x.example",
    )


@pytest.fixture
async def mail_api(settings: Settings, mail_database: Clone) -> AsyncIterator[Api]:
    async with running(create_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def billing(mail_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await mail_api.as_client("billing", MAY_SEND) as http:
        yield http


@pytest.mark.parametrize(
    "sender", ["a@shop.example", {"email": "a@bank.example"}, {"email": "a@mail.invoices.example", "name": "A"}]
)
async def test_a_sender_at_a_domain_of_another_is_refused_at_from_and_leaves_the_request_id_unused(
    billing: httpx.AsyncClient, sender: object
) -> None:
    refused = await billing.post("/v1/mails", json=_mail("one", **{"from": sender}))
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-request")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/from"]
    assert "invoices.example" in refused.json()["errors"][0]["detail"]
    accepted = await billing.post("/v1/mails", json=_mail("one", **{"from": "a@invoices.example"}))
    assert (accepted.status_code, accepted.json()["from"]) == (202, "a@invoices.example")
    assert "Idempotent-Replayed" not in accepted.headers


async def test_both_spellings_of_a_domain_are_accepted(billing: httpx.AsyncClient) -> None:
    for request_id, domain in (("unicode", "BÜCHER.example"), ("a-label", "xn--bcher-kva.example")):
        answer = await billing.post("/v1/mails", json=_mail(request_id, **{"from": f"a@{domain}"}))
        assert answer.status_code == 202, answer.text


async def test_a_client_without_a_list_of_its_own_may_name_the_domain_of_mail_from_only(mail_api: Api) -> None:
    async with await mail_api.as_client("shop", MAY_SEND) as shop:
        own = await shop.post("/v1/mails", json=_mail("own", **{"from": "sales@shop.example"}))
        of_billing = await shop.post("/v1/mails", json=_mail("other", **{"from": "a@invoices.example"}))
    assert (own.status_code, of_billing.status_code) == (202, 422)


async def test_a_mail_without_from_goes_out_from_mail_from_for_every_client(billing: httpx.AsyncClient) -> None:
    answer = await billing.post("/v1/mails", json=_mail("one"))
    assert (answer.status_code, answer.json()["from"]) == (202, "Shop <no-reply@shop.example>")


async def test_in_a_batch_only_the_mail_with_the_foreign_sender_is_rejected_at_from(billing: httpx.AsyncClient) -> None:
    mails = [
        _mail("good", **{"from": "a@invoices.example"}),
        _mail("bad", **{"from": "a@bank.example"}),
        _mail("default"),
    ]
    results = (await billing.post("/v1/mails/batch", json={"mails": mails})).json()["results"]
    assert [result["outcome"] for result in results] == ["accepted", "rejected", "accepted"]
    assert (results[1]["problem"]["status"], results[1]["problem"]["errors"][0]["pointer"]) == (422, "/from")


async def test_a_mail_accepted_before_its_domain_was_taken_off_the_list_is_replayed(
    settings: Settings, mail_database: Clone, billing: httpx.AsyncClient
) -> None:
    mail = _mail("one", **{"from": "a@invoices.example"})
    first = await billing.post("/v1/mails", json=mail)
    narrower = settings.model_copy(update={"mail_sender_domains": "shop.example"})
    async with (
        running(create_app(narrower), mail_database.database) as api,
        await api.as_client("billing", MAY_SEND) as later,
    ):
        again = await later.post("/v1/mails", json=mail)
        new = await later.post("/v1/mails", json=mail | {"request_id": "two"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json() == first.json()
    assert new.status_code == 422


async def test_alerts_are_accepted_whatever_the_list_says(settings: Settings, mail_database: Clone) -> None:
    strict = settings.model_copy(update={"mail_sender_domains": "other.example,mail-alerts=other.example"})
    alert_loop = make_alert_loop(strict, make_intake(strict, mail_database.database), runs_checks=False)
    await alert_loop.run_once()
    await mail_database.as_owner("UPDATE alerts SET since = since - interval '1 hour'")
    await alert_loop.run_once()  # no worker runs, which is a red alert
    senders = await mail_database.database.pool.fetch(
        "SELECT DISTINCT m.client, c.sender_email FROM mails m JOIN contents c ON c.mail_id = m.id"
    )
    assert [tuple(row) for row in senders] == [("mail-alerts", "no-reply@shop.example")]


async def test_signups_own_mails_are_accepted_whatever_the_list_says(settings: Settings, mail_database: Clone) -> None:
    strict = settings.model_copy(update={"mail_sender_domains": "other.example,signup=other.example"})
    payload = {"to": {"email": "asa@x.example", "name": "Asa"}, "template": "welcome", "locale": "en"}
    now = datetime.now(UTC)
    row = ClaimedRow(uuid7(), uuid7(), payload, attempts=0, created_at=now, expires_at=now, claimed_at=now)
    async with (
        running(create_app(strict), mail_database.database) as api,
        await api.as_client("signup", MAY_SEND) as signup,
    ):
        answer = await signup.post("/v1/mails", json=mail_request(row, TokenRing.from_setting("k" * 32)))
    assert (answer.status_code, answer.json().get("from")) == (202, "Shop <no-reply@shop.example>"), answer.text
