"""What the numbers of a look mean: judged purely, for both services."""

from typing import Any

import orjson
import pytest

from services.mail.audit import alerts as mail
from services.signup.audit import alerts as signup

WELL_SIGNUP: dict[str, Any] = {
    "late": 0,
    "oldest_late_seconds": None,
    "dead": 0,
    "dead_webhooks": 0,
    "beat_seconds": 3.0,
    "beat_detail": orjson.dumps({"effects": {"mail": {"breaker": "closed", "last_fault": "an old one"}}}),
    "checks_seconds": 200.0,
    "unbalanced": None,
}
WELL_MAIL: dict[str, Any] = {
    "late": 0,
    "oldest_late_seconds": None,
    "uncertain": 0,
    "oldest_uncertain_seconds": None,
    "beat_seconds": 3.0,
    "beat_detail": orjson.dumps({"gateways": [{"name": "a", "breaker": "closed", "last_fault": None}]}),
    "checks_seconds": 200.0,
}


def effects(**breakers: str) -> bytes:
    return orjson.dumps({"effects": {name: {"breaker": it, "last_fault": "why"} for name, it in breakers.items()}})


def gateways(**breakers: str) -> bytes:
    said = [{"name": name, "breaker": breaker, "last_fault": "x"} for name, breaker in breakers.items()]
    return orjson.dumps({"gateways": said})


@pytest.mark.parametrize(
    ("seen", "expected"),
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
    ],
)
def test_signup_says_what_is_wrong_and_no_more(seen: dict[str, Any], expected: list[str]) -> None:
    signs = list(signup.symptoms_in(WELL_SIGNUP | seen))
    assert [sign.name for sign in signs] == expected
    assert {sign.name for sign in signs} <= {source.name for source in signup.ALERT_RULES}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, []),
        ({"late": 1, "oldest_late_seconds": 1000.0}, ["queue_late"]),
        ({"uncertain": 3, "oldest_uncertain_seconds": 4000.0}, ["uncertain_mails"]),
        ({"beat_seconds": 61.0}, ["worker_silent"]),
        ({"beat_detail": gateways(a="open")}, ["gateways_down"]),
        ({"beat_detail": gateways(a="open", b="closed")}, ["gateway_down"]),
        ({"checks_seconds": 901.0}, ["checks_late"]),
    ],
)
def test_mail_says_what_is_wrong_and_no_more(seen: dict[str, Any], expected: list[str]) -> None:
    signs = list(mail.symptoms_in(WELL_MAIL | seen))
    assert [sign.name for sign in signs] == expected
    assert {sign.name for sign in signs} <= {source.name for source in mail.ALERT_RULES}


def test_the_subject_says_what_to_do() -> None:
    (sign,) = mail.symptoms_in(WELL_MAIL | {"uncertain": 3, "oldest_uncertain_seconds": 4000.0})
    assert sign.todo == "resolve 3 uncertain mails"
    assert "67 min" in sign.facts


@pytest.mark.parametrize(
    ("checks", "cannot_send"),
    [
        ({"worker_heartbeat": {"status": "pass"}, "gateway:a": {"status": "pass"}}, False),
        ({"worker_heartbeat": {"status": "pass"}}, False),
        ({"worker_heartbeat": {"status": "fail"}}, True),
        ({}, True),
        (
            {
                "worker_heartbeat": {"status": "pass"},
                "gateway:a": {"status": "warn"},
                "gateway:b": {"status": "pass"},
            },
            False,
        ),
        ({"worker_heartbeat": {"status": "pass"}, "gateway:a": {"status": "warn"}}, True),
    ],
)
def test_alerts_go_past_a_mail_service_that_sends_nothing(checks: dict[str, Any], *, cannot_send: bool) -> None:
    assert signup.cannot_send({"checks": checks}) is cannot_send
