"""MAIL_GATEWAYS, as docs/gateways.md describes it."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from services.mail.delivery.gateways.ehlo_name import best_of, is_full
from services.mail.delivery.gateways.settings import GatewaySettings, Tls, parse_gateways, tls_context
from services.mail.settings import Settings
from shared.audit.operator_mail import DirectGateway
from shared.contract.configuration import ConfigurationError
from shared.process.settings import describe_errors
from tests.support.databases import ROOT

PAGE = (ROOT / "docs" / "gateways.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^MAIL_GATEWAYS=(\S+)$", PAGE, re.MULTILINE)


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
    gateway = only(
        "smtp://us%40er:p%2Css@mail.example:587"
        "?name=a&connections=3&per_second=2.5&from=bounce@x.example&ca=/etc/ssl/own.pem"
    )
    assert gateway == GatewaySettings(
        "a", "mail.example", 587, Tls.STARTTLS, "us@er", "p,ss", 3, 2.5, "bounce@x.example", "/etc/ssl/own.pem"
    )


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("bounces+main@x.example", "bounces+main@x.example"),
        ("bounces%2Bmain@x.example", "bounces+main@x.example"),
        ("bounces@bücher.example", "bounces@xn--bcher-kva.example"),
    ],
)
def test_the_envelope_sender_of_a_gateway_is_an_address_that_every_server_takes(text: str, sender: str) -> None:
    assert only(f"smtp://mail.example?from={text}").sender == sender


def test_a_gateway_may_say_that_it_deduplicates() -> None:
    gateway = only("smtps://mail.example?idempotency_header=Resend-Idempotency-Key&idempotency_seconds=82800")
    assert (gateway.idempotency_header, gateway.idempotency_seconds) == ("Resend-Idempotency-Key", 82_800)
    gateway = only("smtps://mail.example")
    assert (gateway.idempotency_header, gateway.idempotency_seconds) == (None, None)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("idempotency_header=X-Key", "idempotency_header and idempotency_seconds need each other"),
        ("idempotency_seconds=82800", "idempotency_header and idempotency_seconds need each other"),
        ("idempotency_header=X-Key&idempotency_seconds=0", "idempotency_seconds must be a number above 0"),
        ("idempotency_header=X-Key&idempotency_seconds=a%20day", "idempotency_seconds must be a number above 0"),
        ("idempotency_header=X-Key&idempotency_seconds=2592001", "idempotency_seconds must be .* at most 2.592e"),
        ("idempotency_header=X%20Key&idempotency_seconds=82800", "idempotency_header: "),
        ("idempotency_header=X-Key%0D%0ABcc&idempotency_seconds=82800", "idempotency_header: "),
        ("idempotency_header=&idempotency_seconds=82800", "idempotency_header: "),
        ("idempotency_header=Message-ID&idempotency_seconds=82800", "idempotency_header: "),
    ],
)
def test_a_wrong_parameter_of_deduplication_is_named(parameters: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"MAIL_GATEWAYS, URL 2: {said}"):
        parse_gateways(f"smtp://first.example,smtps://mail.example?{parameters}")


def test_a_gateway_must_know_its_keys_for_longer_than_two_replies_may_take() -> None:
    url = "smtps://mail.example?name=short&idempotency_header=X-Key&idempotency_seconds=1200"
    with pytest.raises(ValidationError) as refused:
        Settings(mail_gateways=url)
    said = describe_errors(refused.value)
    assert "gateway short: idempotency_seconds=1200 must be more than twice MAIL_REPLY_TIMEOUT_SECONDS=600" in said
    Settings(mail_gateways=url, mail_reply_timeout_seconds=599)


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
        "smtp://127.0.0.1?ca=/etc/ssl/own.pem",
        "smtp://mail.example?plain=yes&ca=/etc/ssl/own.pem",
        "smtp://mail.example?from=nonsense",
        "smtp://mail.example?from=Bounces%20%3Cb@x.example%3E",
        "smtp://mail.example?from=b%C3%B6unce@x.example",
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


@pytest.mark.parametrize("password", ["hun/ter2", "hun#ter2", "hun?ter2", "hun,ter2", "12/34", "12#34", "12?a=34"])
def test_a_password_that_is_not_percent_encoded_is_refused_with_words_that_say_so(password: str) -> None:
    url = f"smtp://user:{password}@mail.example:587"
    for setting in ("mail_gateways", "alert_smtp_url"):
        if setting == "alert_smtp_url" and "," in password:
            continue  # it is one URL, so a comma ends nothing
        with pytest.raises(ValidationError) as refused:
            Settings(**{setting: url})  # type: ignore[arg-type] # one at a time
        said = describe_errors(refused.value)
        assert "percent-encode" in said
        assert "%2F %3F %23 %2C" in said
        for piece in (password, *re.split("[/#?,=]", password)):
            assert len(piece) < len("12") or piece not in said.replace("%23", "")


def test_a_percent_encoded_password_is_read_as_it_is() -> None:
    for password in ("hun/ter2", "a#b?c,d@e:f%g", " ", "ü"):
        assert only(f"smtp://user:{quote(password, safe='')}@mail.example").password == password
        url = f"smtp://user:{quote(password, safe='')}@mail.example"
        assert DirectGateway.of(url, "a@x.example").password == password


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path, why in ((missing, "No such file"), (empty, "no certificate")):
        with pytest.raises(ConfigurationError, match=f"gateway own: ca={re.escape(str(path))}: .*{why}"):
            tls_context(only(f"smtps://mail.example?name=own&ca={path}"))


def test_the_page_about_gateways_has_working_examples_for_four_servers() -> None:
    gateways = [parse_gateways(example) for example in EXAMPLES]
    hosts = {gateway.host for each in gateways for gateway in each}
    for part in ("amazonaws.com", "postmarkapp.com", "postfix", "mailpit"):
        assert any(part in host for host in hosts), part
    assert any(len(each) > 1 for each in gateways)


def test_the_page_about_gateways_names_every_parameter() -> None:
    with pytest.raises(ValueError, match="allowed: ") as refused:
        parse_gateways("smtp://mail.example?oops=1")
    for parameter in str(refused.value).partition("allowed: ")[2].split(", "):
        assert f"`{parameter}=" in PAGE, parameter


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["mx1", "mx1.example.com", "localhost"], "mx1.example.com"),
        (["mx1.example.com", "localhost"], "mx1.example.com"),
        (["vm", "vm", "localhost"], "vm"),
        (["localhost", "localhost.localdomain"], "localhost"),
        ([], "localhost"),
    ],
)
def test_ehlo_says_the_full_name_where_the_host_has_one(names: list[str], best: str) -> None:
    assert best_of(names) == best


def test_localhost_and_names_without_a_domain_are_not_full_host_names() -> None:
    assert [is_full(name) for name in ("localhost", "localhost.localdomain", "vm", "")] == [False] * 4
    assert is_full("mx1.example.com")
    assert is_full("[192.0.2.1]")
