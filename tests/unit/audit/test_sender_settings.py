"""What the settings of the check `sender_dns` may be."""

import pytest

from services.mail.audit.sender_records import is_of_one_provider
from services.mail.settings import Settings


@pytest.mark.parametrize("text", ["s1=", "=s1", "s 1", "a=b=c", "-", "exa mple.com=s1"])
def test_a_selector_that_is_none_stops_the_start_and_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither `selector` nor `domain=selector`"):
        Settings(mail_dkim_selectors=text)


@pytest.mark.parametrize("text", ["dns.google", "192.0.2.53:dns", "192.0.2.53/24", "2001:db8::53", "a@192.0.2.53"])
def test_a_name_server_is_an_address_with_or_without_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address, with or without a port"):
        Settings(mail_dns_server=text)
    for server in ("", "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]", "[2001:db8::53]:5353"):
        assert Settings(mail_dns_server=server).mail_dns_server == server


@pytest.mark.parametrize(
    ("host", "name", "same"),
    [
        ("smtp.mailgun.org", "mailgun.org", True),
        ("smtp.eu.mailgun.org", "mailgun.org", True),
        ("smtp-relay.brevo.com", "spf.brevo.com", True),
        ("amazonses.com", "amazonses.com", True),
        ("mtasv.net", "spf.mtasv.net", True),
        ("smtp.mailgun.org", "other.org", False),
        ("smtp.mailgun.org", "org", False),
        ("smtp.mailgun.org", "notmailgun.org", False),
        ("mailgun.org", "other.org", False),
    ],
)
def test_a_provider_is_known_by_the_domain_below_which_its_names_are(host: str, name: str, same: bool) -> None:
    assert is_of_one_provider(host, name) is same
