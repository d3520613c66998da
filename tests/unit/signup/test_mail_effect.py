"""The mail effect: the request to the mail service, and the outcome of each answer."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.signup.outbox.effects.mail import mail_request, verdict
from services.signup.outbox.retry_policy import ClaimedRow, Done, Refused, TryLater
from services.signup.verification_token import TokenRing
from shared.contract.ids import uuid7
from shared.contract.mails import BatchResult, MailRequest

OLD, NEW = "o" * 32, "n" * 32
RING = TokenRing.from_setting(OLD)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def mail_row(template: str, **payload: Any) -> ClaimedRow:
    to = {"email": "asa@example.org", "name": "Åsa"}
    return ClaimedRow(
        id=uuid7(), user_id=uuid7(), payload={"template": template, "to": to, "locale": "sv", **payload}, attempts=0,
        created_at=NOW, expires_at=NOW, claimed_at=NOW, correlation_id="c-1",
    )  # fmt: skip


def verification() -> ClaimedRow:
    link = {"base": "https://x.example", "key_id": RING.signing_key_id, "ttl_seconds": 259_200}
    return mail_row("verification", link=link)


def test_a_verification_mail_carries_a_link_with_the_token_of_its_row() -> None:
    row = verification()
    variables = mail_request(row, RING)["variables"]
    base, _, token = variables["link"].rpartition("/")
    assert base == "https://x.example/verify"
    assert RING.verify(token) == row.id
    assert variables["expires_in_hours"] == 72
    assert variables["name"] == "Åsa"


@pytest.mark.promise("P4")
def test_every_retry_sends_the_same_bytes_even_after_a_key_rotation() -> None:
    row = verification()
    first = orjson.dumps(mail_request(row, RING))
    later = replace(row, attempts=7, claimed_at=datetime.now(UTC))
    assert orjson.dumps(mail_request(later, TokenRing.from_setting(f"{NEW},{OLD}"))) == first


@pytest.mark.parametrize("template", ["welcome", "already-registered"])
def test_other_mails_carry_no_link(template: str) -> None:
    assert mail_request(mail_row(template), RING)["variables"] == {"name": "Åsa"}


@pytest.mark.parametrize("row", [verification(), mail_row("welcome"), mail_row("already-registered", lane="bulk")])
def test_every_request_is_valid_under_the_wire_contract(row: ClaimedRow) -> None:
    request = MailRequest.model_validate(mail_request(row, RING))
    assert request.request_id == str(row.id)
    assert request.lane == row.payload.get("lane")


def rejected(status: int) -> BatchResult:
    problem = {"type": "/problems/x", "status": status, "title": "No", "detail": "because\0"}
    return BatchResult.model_validate({"request_id": "r", "outcome": "rejected", "problem": problem})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_definitive_refusal_of_one_mail_is_final(status: int) -> None:
    assert verdict(rejected(status)) == Refused(f"{status} No: because")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_temporary_refusal_of_one_mail_is_tried_later(status: int) -> None:
    assert verdict(rejected(status)) == TryLater(f"{status} No: because")


@pytest.mark.parametrize("outcome", ["accepted", "replayed"])
def test_a_replayed_mail_counts_as_accepted(outcome: str) -> None:
    mail = {"id": "m", "state": "sent", "fingerprint": "f"}
    result = BatchResult.model_validate({"request_id": "r", "outcome": outcome, "mail": mail})
    assert verdict(result) == Done({"mail_id": "m", "state": "sent", "fingerprint": "f"})


@pytest.mark.parametrize("result", [None, BatchResult(request_id="r", outcome="accepted")])
def test_a_mail_missing_from_the_answer_is_tried_later(result: BatchResult | None) -> None:
    assert isinstance(verdict(result), TryLater)
