"""Connections to hosts that clients name: only to public addresses.

The host is resolved here and the connection goes to the very address that was checked, so a name that resolves
differently the second time (DNS rebinding) gains nothing. TLS still checks the certificate against the name.
"""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpcore

# RFC 6052: IPv4 addresses embedded in IPv6.
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(Exception):
    """The host is at an address that is not public."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Not loopback, private, link-local, multicast or reserved, neither itself nor the IPv4 address inside it."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises PrivateAddressError when any of the host's addresses is not public: such a name is suspect."""
        addresses = await _resolve(host, port)
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise PrivateAddressError("The host is at an address that is not public")
        fault: Exception = httpcore.ConnectError("The host has no address")
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
        raise fault

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)


async def _resolve(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"The host cannot be found: {error}") from error
    # A link-local IPv6 address has its zone after a percent sign.
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
