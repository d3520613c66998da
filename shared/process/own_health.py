"""`python -m services.<service> check`: whether the process in this container works. For health checks of containers.

It imports next to nothing of the product: a container asks every ten seconds, and settings and models take longer to
load than the answer takes.
"""

import argparse
import asyncio
import http.client
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PROCESSES = ("api", "worker")
HEALTHY, UNHEALTHY, BAD_USAGE = 0, 1, 2
_SECONDS = 4.0
# A worker writes its heartbeat every 5 s. Its name is "<kind>/<host>:<pid>": only this host's own rows count.
_BEATS = """
SELECT max(at) > now() - interval '20 s' FROM heartbeats
WHERE starts_with(process, $1::text || '-worker/' || $2::text || ':')
"""


def main(service: str, arguments: Sequence[str]) -> int:
    """Returns 0 when the process works, 1 with a line on stderr when it does not, 2 when it cannot be told."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{service} check", description=__doc__)
    parser.add_argument(
        "process", nargs="?", choices=PROCESSES, help="default: the one that runs in this container or on this machine"
    )
    process = parser.parse_args(arguments).process or _running(service, Path("/proc"))
    if process is None:
        sys.stderr.write(f"No process of services.{service} runs here; name one: api or worker\n")
        return BAD_USAGE
    fault = _api_fault(service, os.environ) if process == "api" else _worker_fault(service, os.environ)
    if fault:
        sys.stderr.write(f"{service} {process}: {fault}\n")
    return UNHEALTHY if fault else HEALTHY


def _running(service: str, processes: Path) -> str | None:
    """The process that runs here, by its command line."""
    for line in processes.glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        module = f"services.{service}".encode()
        if module in words and words[words.index(module) + 1] in {b"api", b"worker"}:
            return words[words.index(module) + 1].decode()
    return None


def _api_fault(service: str, environment: Mapping[str, str]) -> str | None:
    """What a load balancer asks: can it use its own database? Nothing else makes it unready."""
    port = environment.get(f"{service.upper()}_PORT") or {"signup": "8001", "mail": "8002"}[service]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"not ready ({status}): it cannot use its database"


def _worker_fault(service: str, environment: Mapping[str, str]) -> str | None:
    """Workers listen on no port; they write heartbeats."""
    upper = service.upper()
    url = environment.get(f"{upper}_RUNTIME_DATABASE_URL") or environment.get(f"{upper}_DATABASE_URL")
    if not url:
        return f"{upper}_RUNTIME_DATABASE_URL or {upper}_DATABASE_URL must be set"
    try:
        beats = asyncio.run(asyncio.wait_for(_beats(service, url), _SECONDS))
    except Exception as error:  # noqa: BLE001 - whatever the database or its driver says, the answer is no
        return f"its heartbeat cannot be read: {type(error).__name__}"
    return None if beats else "no heartbeat of this host within 20 seconds"


async def _beats(service: str, url: str) -> bool:
    from ..db.servers import Servers  # noqa: PLC0415 - the API's check does without the driver

    url = url.replace("postgresql+asyncpg://", "postgresql://")
    connection = await Servers(url).connect(url, timeout=_SECONDS / 2)
    try:
        return bool(await connection.fetchval(_BEATS, service, socket.gethostname()))
    finally:
        await connection.close()
