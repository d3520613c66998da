"""The client's address behind proxies."""

import pytest
from starlette.requests import Request

from services.signup.http.client_address import ClientAddress
from services.signup.http.rate_limit import _client
from shared.contract.configuration import ConfigurationError

TRUSTED = "10.0.0.0/8, fd00::/8"


def request(peer: str, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),  # not a trusted proxy
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1",), "198.51.100.1"),  # the left one is the client's own claim
        ("10.0.0.1", ("198.51.100.1, 10.0.0.2",), "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4", "198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("198.51.100.1, nonsense, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("198.51.100.1:4711",), "198.51.100.1"),
        ("fd00::1", ("[2001:db8::1]:4711",), "2001:db8::1"),
        ("10.0.0.1", (), "10.0.0.1"),
        # One address, one spelling: of the proxy, and of the client.
        ("::ffff:10.0.0.3", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, ::ffff:10.0.0.3",), "198.51.100.1"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("[::ffff:198.51.100.1]:4711",), "198.51.100.1"),
        ("::ffff:203.0.113.9", (), "203.0.113.9"),
        ("fd00::1%eth0", ("2001:DB8:0::1",), "2001:db8::1"),
        ("fe80::7%eth0", (), "fe80::7"),
        # A tunnel that claims to lead to a proxy is no proxy.
        ("64:ff9b::10.0.0.3", ("198.51.100.1",), "64:ff9b::a00:3"),
        ("2002:a00:3::1", ("198.51.100.1",), "2002:a00:3::1"),
    ],
)
def test_the_client_is_the_last_untrusted_address_that_a_trusted_proxy_saw(
    peer: str, forwarded: tuple[str, ...], expected: str
) -> None:
    assert ClientAddress.from_setting(TRUSTED)(request(peer, *forwarded)) == expected


def test_no_proxy_is_trusted_by_default() -> None:
    assert ClientAddress.from_setting("")(request("127.0.0.1", "198.51.100.1")) == "127.0.0.1"


def test_an_invalid_list_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_TRUSTED_PROXIES"):
        ClientAddress.from_setting("10.0.0.0/8, everybody")


def test_a_proxy_network_may_be_written_as_ipv6() -> None:
    proxies = ClientAddress.from_setting("::ffff:10.0.0.0/104")
    assert proxies(request("10.0.0.3", "198.51.100.1")) == "198.51.100.1"


def test_a_peer_without_an_address_is_its_name() -> None:
    assert ClientAddress.from_setting(TRUSTED)(request("/run/signup.sock", "198.51.100.1")) == "/run/signup.sock"
    assert _client("/run/signup.sock") == "/run/signup.sock"


def test_both_spellings_of_an_address_share_one_client() -> None:
    assert _client("::ffff:203.0.113.1") == _client("203.0.113.1") == _client("64:ff9b::203.0.113.1")


def test_one_ipv6_network_counts_as_one_client() -> None:
    assert _client("2001:db8:1:2::3") == _client("2001:db8:1:2:ffff::9") != _client("2001:db8:1:3::3")
    assert _client("203.0.113.1") != _client("203.0.113.2")
