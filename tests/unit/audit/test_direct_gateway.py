"""Where alerts go when the mail service is down."""

import pytest
from pydantic import ValidationError

from shared.audit.operator_mail import DirectGateway, alert_request_id
from shared.process.settings import ServiceSettings


@pytest.mark.parametrize(
    ("url", "port", "implicit", "starttls"),
    [
        ("smtp://127.0.0.1:2525?name=catcher&connections=8", 2525, False, False),
        ("smtp://relay.example", 25, False, True),
        ("smtp://relay.example?plain=yes", 25, False, False),
        ("smtp://me:se%40cret@relay.example", 587, False, True),
        ("smtps://me:secret@relay.example", 465, True, False),
    ],
)
def test_the_url_of_a_gateway_sets_port_and_tls(url: str, port: int, *, implicit: bool, starttls: bool) -> None:
    gateway = DirectGateway.of(url, "Alerts <a@x.example>")
    assert (gateway.port, gateway.implicit_tls, gateway.starttls) == (port, implicit, starttls)
    assert gateway.password in {None, "se@cret", "secret"}


@pytest.mark.parametrize("url", ["http://relay.example", "relay.example", "smtp://"])
def test_any_other_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match="ALERT_SMTP_URL must look like"):
        DirectGateway.of(url, "a@x.example")


def test_a_request_id_is_the_same_only_for_the_same_incident_phase_and_recipient() -> None:
    first = alert_request_id("id", "opened", "a@x.example")
    assert first == alert_request_id("id", "opened", "a@x.example")
    assert (
        len({first, alert_request_id("id", "closed", "a@x.example"), alert_request_id("id", "opened", "b@x.example")})
        == 3
    )
    assert "@" not in first


def test_unusable_alert_settings_stop_a_process_from_starting() -> None:
    settings = ServiceSettings(alert_email=" a@x.example ,b@x.example,")
    assert settings.alert_email == "a@x.example,b@x.example"
    for wrong in ({"alert_email": "a@x.example,not-an-address"}, {"alert_smtp_url": "relay.example"}):
        with pytest.raises(ValidationError):
            ServiceSettings(**wrong)  # type: ignore[arg-type] # one at a time


def test_the_sender_of_a_gateway_keeps_its_plus_sign() -> None:
    assert DirectGateway.of("smtp://relay.example?from=alerts+ops@x.example", "a@x.example").sender == (
        "alerts+ops@x.example"
    )
