"""Which addresses clients may have signup connect to."""

import asyncio
from collections.abc import Callable

import pytest

from shared.webhooks.public_network import PrivateAddressError, PublicNetwork
from tests.support.listener import listening

Resolved = Callable[[list[str]], None]


@pytest.fixture
async def resolved(monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """Every host name has these addresses, as the resolver spells them."""

    def answer(addresses: list[str]) -> None:
        async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
            await asyncio.sleep(0)
            return [(2, 1, 6, "", (address, 443)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)

    return answer


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "::ffff:10.0.0.1", "fec0::1", "fe80::1%lo", "fec0::1%lo", "64:ff9b::10.0.0.1", "2002:a00:1::1"],
)
async def test_a_name_with_one_private_address_is_refused_as_a_whole(resolved: Resolved, address: str) -> None:
    resolved(["8.8.8.8", address])
    with pytest.raises(PrivateAddressError):
        await PublicNetwork(allow_private=False).connect_tcp("hooks.example", 443)


@pytest.mark.parametrize("spelling", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_the_connection_goes_to_the_address_that_was_checked(resolved: Resolved, spelling: str) -> None:
    async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        pass

    resolved([spelling])
    async with listening(hang_up) as port:
        stream = await PublicNetwork(allow_private=True).connect_tcp("hooks.example", port)
        await stream.aclose()
