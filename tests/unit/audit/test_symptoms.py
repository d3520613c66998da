"""Which symptoms follow from the observed numbers: pure decisions of both services."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.mail.audit import alerts as mail
from services.mail.audit.refusal_symptoms import Refusals
from services.signup.audit import alerts as signup

HEALTHY_SIGNUP: dict[str, Any] = {
    "late": 0,
    "oldest_late_seconds": None,
    "dead": 0,
    "dead_webhooks": 0,
    "beat_seconds": 3.0,
    "beat_detail": orjson.dumps({"effects": {"mail": {"breaker": "closed", "last_fault": "an old one"}}}),
    "checks_seconds": 200.0,
    "unbalanced": None,
    "stranger_mails_spent": -1.0,
}
HEALTHY_MAIL: dict[str, Any] = {
    "late": 0,
    "oldest_late_seconds": None,
    "uncertain": 0,
    "oldest_uncertain_seconds": None,
    "dead_webhooks": 0,
    "beat_seconds": 3.0,
    "beat_detail": orjson.dumps({"gateways": [{"name": "a", "breaker": "closed", "last_fault": None}]}),
    "checks_seconds": 200.0,
}


def effects(**breakers: str) -> bytes:
    return orjson.dumps({"effects": {name: {"breaker": state, "last_fault": "x"} for name, state in breakers.items()}})


def gateways(**breakers: str) -> bytes:
    states = [{"name": name, "breaker": state, "last_fault": "x"} for name, state in breakers.items()]
    return orjson.dumps({"gateways": states})


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ({}, []),
        ({"late": 2, "oldest_late_seconds": 1200.0}, ["outbox_late"]),
        ({"dead": 1}, ["outbox_dead"]),
        ({"dead_webhooks": 1}, ["webhooks_dead"]),
        ({"beat_seconds": 61.0}, ["worker_silent"]),
        ({"beat_seconds": None, "beat_detail": None}, ["worker_silent"]),
        ({"beat_detail": effects(mail="open", webhook="closed")}, ["mail_breaker_open"]),
        ({"beat_detail": effects(mail="half_open", cache="open")}, ["mail_breaker_open", "effect_breaker_open"]),
        ({"checks_seconds": 901.0}, ["checks_late"]),
        ({"checks_seconds": None}, ["checks_late"]),
        ({"unbalanced": 3}, ["out_of_balance"]),
        ({"unbalanced": 0}, []),
        ({"stranger_mails_spent": 0.49}, []),
        ({"stranger_mails_spent": 0.5}, ["stranger_mails_half_spent"]),
        ({"stranger_mails_spent": 1.0}, ["stranger_mails_spent"]),
    ],
)
def test_signup_reports_exactly_the_symptoms(observed: dict[str, Any], expected: list[str]) -> None:
    symptoms = list(signup.symptoms_in(HEALTHY_SIGNUP | observed, mails_per_hour=60))
    assert [symptom.name for symptom in symptoms] == expected
    assert {symptom.name for symptom in symptoms} <= {source.name for source in signup.ALERT_RULES}


def test_without_a_limit_of_mails_none_is_spent() -> None:
    assert list(signup.symptoms_in(HEALTHY_SIGNUP | {"stranger_mails_spent": 20.0}, mails_per_hour=0)) == []


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ({}, []),
        ({"late": 1, "oldest_late_seconds": 1000.0}, ["queue_late"]),
        ({"uncertain": 3, "oldest_uncertain_seconds": 4000.0}, ["uncertain_mails"]),
        ({"beat_seconds": 61.0}, ["worker_silent"]),
        ({"dead_webhooks": 2}, ["webhooks_dead"]),
        ({"beat_detail": gateways(a="open")}, ["gateways_down"]),
        ({"beat_detail": gateways(a="open", b="closed")}, ["gateway_down"]),
        ({"checks_seconds": 901.0}, ["checks_late"]),
    ],
)
def test_mail_reports_exactly_the_symptoms(observed: dict[str, Any], expected: list[str]) -> None:
    symptoms = list(mail.symptoms_in(HEALTHY_MAIL | observed))
    assert [symptom.name for symptom in symptoms] == expected
    assert {symptom.name for symptom in symptoms} <= {source.name for source in mail.ALERT_RULES}


def test_a_gateway_that_refuses_everyone_is_not_reported_as_down_too() -> None:
    refusals = Refusals({"a": datetime.now(UTC)}, {})
    down = HEALTHY_MAIL | {"beat_detail": gateways(a="open", b="closed")}
    assert list(mail.symptoms_in(down, refusals)) == []
    both = HEALTHY_MAIL | {"beat_detail": gateways(a="open", b="open")}
    assert [symptom.name for symptom in mail.symptoms_in(both, refusals)] == ["gateways_down"]


def test_the_subject_says_what_to_do() -> None:
    (symptom,) = mail.symptoms_in(HEALTHY_MAIL | {"uncertain": 3, "oldest_uncertain_seconds": 4000.0})
    assert symptom.todo == "resolve 3 uncertain mails"
    assert "67 min" in symptom.facts


@pytest.mark.parametrize(
    ("age_seconds", "breakers", "cannot_send"),
    [
        (1.0, ["closed"], False),
        (1.0, [], False),
        (60.0, ["closed"], True),
        (None, [], True),
        (1.0, ["open", "closed"], False),
        (1.0, ["open", "half_open"], True),
    ],
)
def test_alerts_bypass_a_mail_service_that_cannot_send(
    age_seconds: float | None, breakers: list[str], *, cannot_send: bool
) -> None:
    gateways = {"items": [{"breaker": breaker} for breaker in breakers], "age_seconds": age_seconds}
    assert signup.cannot_send(gateways) is cannot_send


def test_alerts_bypass_a_mail_service_that_answers_with_an_error() -> None:
    assert signup.cannot_send(None)
