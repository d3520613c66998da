"""An HTTP load client, for a steady rate and for machines without `wrk`.

`python -m tests.benchmarks.client URL TAG SECONDS --connections N` keeps N connections busy. `--rate` sends that many
requests a second, however long answers take. `--record` writes the time of each answer.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from .load import Load
from .report import percentile

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_SUCCESS = b"2"
# A longer wait for an answer is a failure.
_PATIENCE_SECONDS = 30.0
_LATE_SECONDS = 1.0


def request_bytes(host: str, email: str) -> bytes:
    body = json.dumps({"email": email, "name": "Åsa Öberg"}).encode()
    head = f"POST /v1/signups HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def take_answer(buffer: bytearray) -> bytes | None:
    """Remove the first complete answer from `buffer` and return its status; None while it is incomplete."""
    end = buffer.find(_END_OF_HEAD)
    length = _LENGTH.search(buffer, 0, end + 2) if end >= 0 else None
    if length is None:
        return None
    total = end + len(_END_OF_HEAD) + int(length[1])
    if len(buffer) < total:
        return None
    status = bytes(buffer[9:12])
    del buffer[:total]
    return status


class Connection(asyncio.Protocol):
    """One request at a time. Calls `answered(connection, ok)` on a complete answer or a lost connection."""

    def __init__(self, answered: Callable[["Connection", bool], None]) -> None:
        self._answered = answered
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self.email = ""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is no subclass

    def ask(self, host: str, email: str) -> None:
        assert self._transport is not None
        self.email, self.sent = email, time.monotonic()
        self._transport.write(request_bytes(host, email))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if status := take_answer(self._buffer):
            self._answered(self, status.startswith(_SUCCESS))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.email:
            self._answered(self, False)

    def close(self) -> None:
        self.email = ""
        if self._transport:
            self._transport.close()


@dataclass
class Answers:
    """The answers: email, time sent and time answered, by the monotonic clock."""

    times: list[tuple[str, float, float]]
    errors: int = 0

    def take(self, connection: Connection, ok: bool) -> None:
        if ok:
            self.times.append((connection.email, connection.sent, time.monotonic()))
        else:
            self.errors += 1

    def load(self, seconds: float) -> Load:
        waits = [(answered - sent) * 1000 for _, sent, answered in self.times] or [0.0]
        return Load(len(self.times), seconds, self.errors, percentile(waits, 50), percentile(waits, 99))


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


async def keep_busy(url: str, tag: str, seconds: float, connections: int) -> tuple[Answers, float]:
    """Send the next request after each answer, as wrk does."""
    host, port = _host_and_port(url)
    answers, numbers, running = Answers([]), iter(range(1_000_000_000)), connections
    done, deadline = asyncio.Event(), time.monotonic() + seconds

    def answered(connection: Connection, ok: bool) -> None:
        nonlocal running
        answers.take(connection, ok)
        if ok and time.monotonic() < deadline:
            connection.ask(host, f"{tag}-{next(numbers)}@bench.example")
            return
        connection.close()
        running -= 1
        if not running:
            done.set()

    began = time.monotonic()
    for _ in range(connections):
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(answered), host, port)
        connection.ask(host, f"{tag}-{next(numbers)}@bench.example")
    async with asyncio.timeout(seconds + _PATIENCE_SECONDS):
        await done.wait()
    return answers, time.monotonic() - began


async def keep_pace(url: str, tag: str, seconds: float, connections: int, rate: float) -> tuple[Answers, float]:
    """Send `rate` requests a second, or as many as are answered in the time. Waiting for a free connection counts."""
    host, port = _host_and_port(url)
    answers, idle = Answers([]), asyncio.Queue[Connection]()

    def answered(connection: Connection, ok: bool) -> None:
        answers.take(connection, ok)
        connection.email = ""
        idle.put_nowait(connection)

    opened = []
    for _ in range(connections):
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(answered), host, port)
        opened.append(connection)
        idle.put_nowait(connection)
    began = time.monotonic()
    for number in range(round(seconds * rate)):
        due = began + number / rate
        if time.monotonic() > began + seconds + _LATE_SECONDS:
            break  # it cannot keep the pace: the rest is not sent
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            connection = await idle.get()
        connection.ask(host, f"{tag}-{number}@bench.example")
        connection.sent = due
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for _ in opened:
            await idle.get()
    for connection in opened:
        connection.close()
    return answers, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("tag")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--record", type=Path, help="write the time of each answer to this file, as JSON")
    arguments = parser.parse_args()
    if arguments.rate:
        work = keep_pace(arguments.url, arguments.tag, arguments.seconds, arguments.connections, arguments.rate)
    else:
        work = keep_busy(arguments.url, arguments.tag, arguments.seconds, arguments.connections)
    answers, seconds = uvloop.run(work)
    if arguments.record:
        arguments.record.write_text(json.dumps({email: answered for email, _, answered in answers.times}))
    sys.stdout.write("JSON " + json.dumps(asdict(answers.load(seconds))) + "\n")


if __name__ == "__main__":
    main()
