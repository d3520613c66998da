"""Signs people up at a steady rate, and asks again for each until it gets a 2xx: a client that outlives a crash.

`python -m tests.benchmarks.stubborn_client URL TAG SECONDS --rate N` writes how often it had to ask again, and
the longest wait.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop

from .client import request_bytes, take_answer

_AGAIN_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
# Below the cooldown of a mail: a signup that was accepted without an answer is owed no second one.
_PATIENCE_SECONDS = 50.0
_CHUNK = 65_536


@dataclass(frozen=True)
class Asked:
    """How many requests failed, and the seconds until the last one was accepted."""

    failures: int
    seconds: float


async def sign_up(host: str, port: int, email: str) -> Asked:
    """Ask until it is accepted.

    Raises:
        TimeoutError: the API did not say yes in time.
    """
    failures, began = 0, time.monotonic()
    while True:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                if (await _ask(host, port, email)).startswith(b"2"):
                    return Asked(failures, time.monotonic() - began)
        failures += 1
        if time.monotonic() > began + _PATIENCE_SECONDS:
            raise TimeoutError(f"{email} was not accepted")
        await asyncio.sleep(_AGAIN_SECONDS)


async def _ask(host: str, port: int, email: str) -> bytes:
    """The status; empty when the connection ended before an answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request_bytes(f"{host}:{port}", email))
        buffer, status = bytearray(), None
        while status is None and (received := await reader.read(_CHUNK)):
            buffer += received
            status = take_answer(buffer)
        return status or b""
    finally:
        writer.close()


async def keep_asking(url: str, tag: str, seconds: float, rate: float) -> Asked:
    """Start each signup on time, however long earlier ones wait. Returns all failures and the longest wait."""
    parts = urlsplit(url)
    began, asking = time.monotonic(), []
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            email = f"{tag}-{number}@bench.example"
            asking.append(tasks.create_task(sign_up(parts.hostname or "", parts.port or 80, email)))
    asked = [task.result() for task in asking]
    return Asked(sum(each.failures for each in asked), max(each.seconds for each in asked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("tag")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    asked = uvloop.run(keep_asking(arguments.url, arguments.tag, arguments.seconds, arguments.rate))
    sys.stdout.write("JSON " + json.dumps(asdict(asked)) + "\n")


if __name__ == "__main__":
    main()
