"""The name that EHLO says: `MAIL_EHLO_NAME`, or the full name of this host (RFC 5321 section 4.1.1.1)."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Iterator

from shared.observability.logs import get_logger

_log = get_logger(__name__)

# A name server that does not answer must not keep the worker from starting.
_LOOKUP_SECONDS = 5.0


async def ehlo_name(configured: str) -> str:
    """Logs a warning when gateways may refuse the name."""
    name = configured or await _host_name()
    if not is_full(name):
        _log.warning(
            "ehlo_name_is_not_a_full_host_name", ehlo_name=name, advice="set MAIL_EHLO_NAME; gateways may refuse it"
        )
    return name


def is_full(name: str) -> bool:
    """Whether others could know this host by `name`: with a domain, or an address in brackets."""
    return name.startswith("[") or ("." in name and name.partition(".")[0].lower() != "localhost")


def best_of(names: Iterable[str]) -> str:
    """The first full name, else the first that is not `localhost`. Asks for no more names than it needs."""
    others = []
    for name in names:
        if is_full(name):
            return name
        if name and not name.lower().startswith("localhost"):
            others.append(name)
    return others[0] if others else "localhost"


async def _host_name() -> str:
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            return await asyncio.to_thread(lambda: best_of(_names()))
    except TimeoutError:
        return best_of([socket.gethostname()])


def _names() -> Iterator[str]:
    """As `hostname -f` finds it, then by reverse lookup, which says `localhost` where /etc/hosts lists that first."""
    host = socket.gethostname()
    yield host
    with contextlib.suppress(OSError):
        yield from (found[3] for found in socket.getaddrinfo(host, None, flags=socket.AI_CANONNAME))
    yield socket.getfqdn()
