"""MAIL_SENDER_DOMAINS: which domains a client may name in `from`."""

import pytest
from pydantic import ValidationError

from services.mail.intake.sender_domains import SenderDomains
from services.mail.settings import Settings
from shared.contract.fields import Recipient
from shared.contract.problems import InvalidRequest

MAIL_FROM = "Counterfoil <no-reply@Bücher.example>"


def may(domains: SenderDomains, client: str, email: str) -> bool:
    try:
        domains.refuse_foreign(client, Recipient(email=email))
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    ("setting", "client", "email", "allowed"),
    [
        ("", "shop", "a@bücher.example", True),
        ("", "shop", "a@xn--bcher-kva.example", True),
        ("", "shop", "a@bank.example", False),
        ("example.com", "shop", "a@EXAMPLE.com", True),
        ("example.com", "shop", "a@bücher.example", False),
        ("example.com, example.org", "shop", "a@example.org", True),
        ("example.com", "shop", "a@mail.example.com", False),
        ("mail.example.com", "shop", "a@example.com", False),
        ("mail.example.com", "shop", "a@mail.example.com", True),
        ("example.com", "shop", "a@notexample.com", False),
        ("xn--bcher-kva.example", "shop", "a@BÜCHER.example", True),
        ("BÜCHER.example", "shop", "a@xn--bcher-kva.example", True),
        ("example.com,billing=invoices.example|example.com", "billing", "a@invoices.example", True),
        ("example.com,billing=invoices.example|example.com", "billing", "a@example.com", True),
        ("example.com,billing=invoices.example", "billing", "a@example.com", False),
        ("example.com,billing=invoices.example", "shop", "a@invoices.example", False),
        ("billing=invoices.example", "shop", "a@bücher.example", True),
        ("billing=invoices.example,billing=example.org", "billing", "a@example.org", True),
        ("a=b=invoices.example", "a=b", "a@invoices.example", True),
    ],
)
def test_a_client_may_send_from_exactly_the_domains_of_its_list(
    setting: str, client: str, email: str, *, allowed: bool
) -> None:
    assert may(SenderDomains.parse(setting, MAIL_FROM), client, email) is allowed


def test_a_mail_without_from_is_allowed_to_every_client() -> None:
    SenderDomains.parse("billing=invoices.example", MAIL_FROM).refuse_foreign("billing", None)


def test_the_refusal_names_the_domains_that_are_allowed_as_people_write_them() -> None:
    domains = SenderDomains.parse("shop=xn--bcher-kva.example|example.com", MAIL_FROM)
    with pytest.raises(InvalidRequest) as refused:
        domains.refuse_foreign("shop", Recipient(email="a@bank.example"))
    assert refused.value.errors == [
        {"pointer": "/from", "detail": "Must be an address at one of these domains: bücher.example, example.com"}
    ]


@pytest.mark.parametrize(
    "setting", ["*", "*.example.com", "a b", "a@example.com", "billing=", "=example.com", "billing=example.com|", "x"]
)
def test_a_setting_that_is_no_list_of_domains_stops_the_start_by_name(setting: str) -> None:
    with pytest.raises(ValidationError, match="MAIL_SENDER_DOMAINS: "):
        Settings(mail_sender_domains=setting)
