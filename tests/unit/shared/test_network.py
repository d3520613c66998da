"""One network address has one spelling."""

from ipaddress import ip_address, ip_network

import pytest

from shared.contract.network import client_of, is_loopback, is_public, network_of, read_address, read_network

# Documentation addresses (RFC 5737) are not public, so the tunnels below lead to 8.8.8.8.
TEREDO_TO_8888 = "2001:0:4136:e378:8000:63bf:f7f7:f7f7"
TEREDO_TO_10001 = "2001:0:4136:e378:8000:63bf:f5ff:fffe"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:cb00:7109", "203.0.113.9"),
        ("0:0:0:0:0:ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9%eth0", "203.0.113.9"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25", "fe80::1"),
        ("::ffff:1", "::ffff:1"),  # not a mapped one
    ],
)
def test_each_spelling_of_an_address_is_the_same_address(text: str, address: str) -> None:
    assert read_address(text) == ip_address(address)
    assert str(read_address(text)) == address


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "010.0.0.1", "10.0.0.1%eth0", "[::1]", "::1/64"])
def test_other_text_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        read_address(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.3", "10.0.0.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.3", "10.0.0.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_each_spelling_of_a_network_is_the_same_network(text: str, network: str) -> None:
    assert read_network(text) == ip_network(network)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "::ffff:10.0.0.1/104", "everybody", "10.0.0.0/33", ""])
def test_other_text_is_no_network(text: str) -> None:
    with pytest.raises(ValueError):
        read_network(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::1%lo", "::ffff:127.0.0.1"])
def test_each_spelling_of_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example", "fe80::1%lo"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),  # noqa: S104 - the point
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1"),
        # Site-local, discard-only, segment routing, local NAT64, IPv4-compatible, IPv4-translated: not global unicast.
        *(
            "fec0::1",
            "feff::1",
            "fec0::1%eth0",
            "100::1",
            "5f00::1",
            "64:ff9b:1::8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
        ),
        # A private IPv4 address inside: mapped, 6to4, NAT64, Teredo.
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1%eth0",
            "2002:7f00:1::",
            "2002:a00:1::",
            "64:ff9b::10.0.0.1",
            TEREDO_TO_10001,
        ),
    ],
)
def test_an_address_that_not_everyone_can_reach_is_not_public(address: str) -> None:
    assert not is_public(read_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", TEREDO_TO_8888),
        "2606:4700::1111%eth0",
    ],
)
def test_a_globally_reachable_address_is_public(address: str) -> None:
    assert is_public(read_address(address))


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2::3", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::"),
        ("2001:db8:1:3::3", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        # A tunnel counts as the IPv4 address inside it, however many networks that owns.
        ("2002:808:808:1::1", "8.8.8.8"),
        ("2002:808:808:ffff::1", "8.8.8.8"),
        ("64:ff9b::8.8.8.8", "8.8.8.8"),
        (TEREDO_TO_8888, "8.8.8.8"),
    ],
)
def test_one_ipv4_address_or_one_ipv6_network_of_64_bits_is_one_client(address: str, client: str) -> None:
    assert client_of(read_address(address)) == client


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.77", "198.51.100.0/24"),
        ("::ffff:198.51.100.77", "198.51.100.0/24"),
        ("2002:c633:644d::1", "198.51.100.0/24"),  # 6to4
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::3", "2001:db8:1::/48"),
    ],
)
def test_a_network_is_what_one_party_can_take_addresses_from(address: str, network: str) -> None:
    assert network_of(read_address(address)) == network
