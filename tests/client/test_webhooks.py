"""Webhooks: what the services sign is read, and nothing else is."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks

from counterfoil_client import Webhook, errors

BODY = b'{"type":"mail.sent","timestamp":"2026-05-01T12:00:00.000001Z","data":{"id":"m-1"}}\n'
NOW = datetime(2026, 5, 1, 12, 0, 5, tzinfo=UTC)


def _secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _signed(*signed_with: str, body: bytes = BODY, at: datetime = NOW) -> dict[str, str]:
    """As the services do: with the library, by every secret that is in force."""
    signatures = [standardwebhooks.Webhook(secret).sign("e-1", at, body.decode()) for secret in signed_with]
    return {
        "Webhook-Id": "e-1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": " ".join(signatures),
    }


def _receiver(*held: str) -> Webhook:
    return Webhook(*held, wall_clock=NOW.timestamp)


def test_what_the_service_signed_is_an_event() -> None:
    secret = _secret()
    event = _receiver(secret).verify(_signed(secret), BODY)
    assert (event.id, event.type, event.data) == ("e-1", "mail.sent", {"id": "m-1"})
    assert event.timestamp == datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)


def test_while_a_secret_is_changed_one_that_fits_is_enough() -> None:
    old, new, other = _secret(), _secret(), _secret()
    assert _receiver(old).verify(_signed(new, old), BODY)
    assert _receiver(new).verify(_signed(new, old), BODY)
    assert _receiver(other, old).verify(_signed(old), BODY)
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(other).verify(_signed(new, old), BODY)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_event_signed_long_ago_or_ahead_of_time_is_refused(seconds: int) -> None:
    secret = _secret()
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(secret).verify(_signed(secret, at=NOW + timedelta(seconds=seconds)), BODY)
    assert _receiver(secret).verify(_signed(secret, at=NOW + timedelta(seconds=seconds * 299 // 301)), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "e-2"},
        {"Webhook-Timestamp": str(int(NOW.timestamp()) + 1)},
        {"Webhook-Timestamp": "now"},
        {"Webhook-Timestamp": "9" * 400},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,not base64"},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Signature": "v2," + base64.b64encode(b"x" * 32).decode()},
    ],
)
def test_a_header_that_was_changed_is_refused(change: dict[str, str]) -> None:
    secret = _secret()
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(secret).verify(_signed(secret) | change, BODY)


def test_a_body_that_was_changed_by_one_byte_is_refused() -> None:
    secret = _secret()
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(secret).verify(_signed(secret), BODY.replace(b"m-1", b"m-2"))
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(secret).verify({}, BODY)


@pytest.mark.parametrize("body", ["", "[]", "{}", "text", '{"type": "x", "timestamp": 7}'])
def test_a_signed_body_that_is_no_event_is_refused(body: str) -> None:
    secret = _secret()
    with pytest.raises(errors.UnverifiedWebhook):
        _receiver(secret).verify(_signed(secret, body=body.encode()), body.encode())


@pytest.mark.parametrize("held", [(), ("whsec_%",), ("whsec_abc",)])
def test_a_secret_that_is_none_is_noticed_at_the_start(held: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Webhook(*held)
