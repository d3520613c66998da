"""Fetches a small file from Amazon's host: over verified TLS, from a public address, without following redirects."""

import asyncio
import ssl
from typing import TYPE_CHECKING

from shared.observability.foreign_errors import describe

from .sns_certificates import FetchError

if TYPE_CHECKING:
    import httpcore

_SECONDS = 10.0
_MAX_BYTES = 64 * 1024
_OK = 200


async def fetch_from_amazon(url: str, *, allow_private: bool = False, ca_file: str | None = None) -> bytes:
    """The caller has checked that the URL leads to Amazon. The options are for a server of one's own.

    Raises:
        FetchError: no connection, no answer in time, an answer other than 200, or one that is too large.
    """
    import httpcore  # noqa: PLC0415 - takes memory: only where events of SES come

    from shared.webhooks.public_network import PrivateAddressError, PublicNetwork  # noqa: PLC0415

    try:
        async with asyncio.timeout(_SECONDS):
            context = await asyncio.to_thread(ssl.create_default_context, cafile=ca_file)
            network = PublicNetwork(allow_private=allow_private)
            async with httpcore.AsyncConnectionPool(ssl_context=context, network_backend=network) as connections:
                return await _get(connections, url)
    except TimeoutError:
        raise FetchError(f"no answer within {_SECONDS:g} s") from None
    except PrivateAddressError as error:
        raise FetchError(str(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError) as error:
        raise FetchError(f"the call failed: {describe(error)}") from None


async def _get(connections: "httpcore.AsyncConnectionPool", url: str) -> bytes:
    content = bytearray()
    async with connections.stream("GET", url) as response:
        if response.status != _OK:
            raise FetchError(f"answered {response.status}")
        async for part in response.aiter_stream():
            content += part
            if len(content) > _MAX_BYTES:
                raise FetchError("the answer is too large")
    return bytes(content)
