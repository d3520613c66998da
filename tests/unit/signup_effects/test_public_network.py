"""Which addresses clients may have signup connect to."""

import asyncio
from ipaddress import ip_address

import pytest

from services.signup.outbox.effects.public_network import PrivateAddressError, PublicNetwork, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),  # noqa: S104 - the point
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fd00::1", "ff02::1", "2001:db8::1"),
        # Embedded IPv4: mapped, 6to4, NAT64.
        *("::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::10.0.0.1"),
    ],
)
def test_private_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_globally_reachable_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_a_name_with_one_private_address_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        await asyncio.sleep(0)
        return [(2, 1, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(PrivateAddressError):
        await PublicNetwork(allow_private=False).connect_tcp("hooks.example", 443)
