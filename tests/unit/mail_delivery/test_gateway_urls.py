"""MAIL_GATEWAYS, as API.md describes it."""

import pytest

from services.mail.delivery.gateways.settings import GatewaySettings, Tls, parse_gateways


def only(url: str) -> GatewaySettings:
    (gateway,) = parse_gateways(url)
    return gateway


def test_loopback_may_be_plain() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "127.8.8.8"):
        assert only(f"smtp://{host}:1025").tls is Tls.NONE


def test_other_hosts_need_starttls_unless_marked() -> None:
    assert only("smtp://mail.example:25").tls is Tls.STARTTLS
    assert only("smtp://10.0.0.7:25?plain=yes").tls is Tls.NONE
    assert only("smtps://mail.example").tls is Tls.IMPLICIT


def test_loopback_can_require_tls() -> None:
    assert only("smtp://127.0.0.1:1025?plain=no").tls is Tls.STARTTLS


def test_every_parameter_is_read() -> None:
    gateway = only("smtp://us%40er:p%2Css@mail.example:587?name=a&connections=3&per_second=2.5&from=bounce@x.example")
    assert gateway == GatewaySettings(
        "a", "mail.example", 587, Tls.STARTTLS, "us@er", "p,ss", 3, 2.5, "bounce@x.example"
    )


def test_ports_have_the_usual_defaults() -> None:
    assert only("smtp://mail.example").port == 25
    assert only("smtp://u:p@mail.example").port == 587
    assert only("smtps://mail.example").port == 465


def test_the_order_is_the_preference() -> None:
    assert [gateway.name for gateway in parse_gateways("smtp://b:25, smtp://a:25")] == ["b:25", "a:25"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example:notaport",
        "smtp://mail.example?conections=3",
        "smtp://mail.example?connections=0",
        "smtp://mail.example?connections=1.5",
        "smtp://mail.example?per_second=-1",
        "smtp://mail.example?plain=perhaps",
        "smtps://mail.example?plain=yes",
        "smtp://mail.example?name=a&name=b",
        "smtp://mail.example/path",
        "smtp://a:25?name=x,smtp://b:25?name=x",
    ],
)
def test_invalid_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MAIL_GATEWAYS"):
        parse_gateways(text)


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in repr(only("smtp://u:hunter2@mail.example"))
    with pytest.raises(ValueError, match="URL 1") as refused:
        parse_gateways("smtp://u:hunter2@mail.example?oops=1")
    assert "hunter2" not in str(refused.value)
