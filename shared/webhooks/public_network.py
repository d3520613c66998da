"""Connections to hosts that clients name: only to public addresses.

The host is resolved here and the connection goes to the very address that was checked, so a name that resolves
differently the second time (DNS rebinding) gains nothing. TLS still checks the certificate against the name.
"""

import asyncio
import socket
from collections.abc import Iterable

import httpcore

from ..contract.network import is_public, read_address
from ..observability.foreign_errors import describe


class PrivateAddressError(Exception):
    """The host is at an address that is not public."""


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
        if not self._allow_private and not all(is_public(read_address(address)) for address in addresses):
            raise PrivateAddressError("The host is at an address that is not public")
        fault: Exception = httpcore.ConnectError("The host has no address")
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
        raise fault

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    """As the resolver spells them: the connection to a link-local address needs its zone."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"The host cannot be found: {describe(error)}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
