"""Each provider's gateway gets the header that this provider repeats in its events, and no other does."""

import email
from uuid import UUID

import pytest

from services.mail.delivery.gateways.settings import PROVIDERS, GatewaySettings, Tls, parse_gateways
from services.mail.delivery.gateways.transport_headers import transport_headers
from tests.support.provider_events import NAMES

MAIL_ID = UUID("0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
LINES = {
    None: b"",
    "ses": f"X-SES-MESSAGE-TAGS: counterfoil_id={MAIL_ID}\r\n".encode(),
    "postmark": f"X-PM-Metadata-counterfoil_id: {MAIL_ID}\r\n".encode(),
    "mailgun": f'X-Mailgun-Variables: {{"counterfoil_id": "{MAIL_ID}"}}\r\n'.encode(),
    "sendgrid": f'X-SMTPAPI: {{"unique_args": {{"counterfoil_id": "{MAIL_ID}"}}}}\r\n'.encode(),
    "resend": b"",
    "brevo": f"X-Mailin-custom: counterfoil_id:{MAIL_ID}\r\n".encode(),
}


def _settings(provider: str | None) -> GatewaySettings:
    return GatewaySettings("x", "127.0.0.1", 25, Tls.NONE, provider=provider)


@pytest.mark.parametrize("provider", LINES)
def test_a_provider_gets_its_own_line(provider: str | None) -> None:
    assert transport_headers(_settings(provider), MAIL_ID) == LINES[provider]


def test_every_provider_whose_events_are_accepted_can_be_a_gateways() -> None:
    assert set(PROVIDERS) == set(NAMES) == set(LINES) - {None}
    for name in PROVIDERS:
        assert parse_gateways(f"smtps://mail.example?provider={name}")[0].provider == name
    with pytest.raises(ValueError, match="URL 1: provider must be one of ses, postmark, mailgun"):
        parse_gateways("smtps://mail.example?provider=SES")


@pytest.mark.parametrize("given", [b"x-smtpapi: {}", b"Subject: x\r\nX-SMTPAPI: {}"])
def test_a_providers_header_that_the_client_gave_is_not_given_twice(given: bytes) -> None:
    message = given + b"\r\n\r\nX-SMTPAPI: in the text\r\n"
    assert transport_headers(_settings("sendgrid"), MAIL_ID, message=message) == b""


def test_a_text_that_looks_like_the_header_is_none() -> None:
    message = b"Subject: X-SMTPAPI: {}\r\nX-SMTPAPI-Other: 1\r\n\r\nx\r\nX-SMTPAPI: {}\r\n"
    line = transport_headers(_settings("sendgrid"), MAIL_ID, message=message)
    assert line == LINES["sendgrid"]
    assert email.message_from_bytes(line + message)["Subject"] == "X-SMTPAPI: {}"
