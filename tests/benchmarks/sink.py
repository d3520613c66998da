"""An SMTP server that accepts and discards all mails: postfix's `smtp-sink` where it is installed, else this one.

`python -m tests.benchmarks.sink PORT --record FILE` writes on SIGTERM when each mail got its 250.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from local.process import dies_with_parent

ROOT = Path(__file__).resolve().parents[2]
_END_OF_MAIL = b"\r\n.\r\n"
_START_SECONDS = 20.0
_PLAIN_ANSWERS = {
    b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 Bye\r\n",
}


class Sink(asyncio.Protocol):
    """One conversation."""

    def __init__(self, accepted: list[tuple[str, float]], reply_seconds: float = 0.0) -> None:
        self._accepted = accepted
        self._reply_seconds = reply_seconds
        self._buffer = bytearray()
        self._in_body = False
        self._recipient = ""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is no subclass
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while True:
            delimiter = _END_OF_MAIL if self._in_body else b"\r\n"
            end = self._buffer.find(delimiter)
            if end < 0:
                return
            line = bytes(self._buffer[:end])
            del self._buffer[: end + len(delimiter)]
            if self._in_body:
                self._in_body = False
                self._accepted.append((self._recipient, time.monotonic()))
                if self._reply_seconds:
                    asyncio.get_running_loop().call_later(self._reply_seconds, self._say_yes)
                else:
                    self._say_yes()
            else:
                self._answer(line, self._transport)

    def _say_yes(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"250 2.0.0 Ok\r\n")

    def _answer(self, line: bytes, transport: asyncio.WriteTransport) -> None:
        command = line[:4].upper()
        if command == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
        self._in_body = command == b"DATA"
        transport.write(_PLAIN_ANSWERS.get(command, b"250 2.0.0 Ok\r\n"))
        if command == b"QUIT":
            transport.close()


async def serve(port: int, reply_seconds: float = 0.0) -> list[tuple[str, float]]:
    """Serve until SIGTERM; return the recipient of each mail and when it was accepted, by the monotonic clock.

    The 250 comes `reply_seconds` after the dot.
    """
    accepted: list[tuple[str, float]] = []
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Sink(accepted, reply_seconds), "127.0.0.1", port)
    await stop.wait()
    server.close()
    return accepted


def generator(record: Path | None = None) -> str:
    return "smtp-sink" if shutil.which("smtp-sink") and record is None else "own sink"


@contextmanager
def running_sink(port: int, record: Path | None = None, *, reply_seconds: float = 0.0) -> Iterator[None]:
    """Run a sink on `port`. With `record` it is our own, which writes its times to that file, and may answer late."""
    if generator(record) == "smtp-sink":
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["smtp-sink", *user, f"127.0.0.1:{port}", "128"]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.sink", str(port)]
        command += ["--record", str(record), "--reply-seconds", str(reply_seconds)] if record else []
    process = subprocess.Popen(
        [*dies_with_parent("KILL"), *command], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await_port(port, process)
        yield
    finally:
        process.terminate()
        process.wait(20)


def read_record(file: Path) -> list[tuple[str, float]]:
    """Recipient and time of each mail, in the order in which they were accepted."""
    return [(recipient, at) for recipient, at in json.loads(file.read_text(encoding="utf-8"))]


def await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the port answers. Raises RuntimeError when `process` ends or does not listen in time."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on port {port}") from error
            time.sleep(0.02)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--reply-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    accepted = uvloop.run(serve(arguments.port, arguments.reply_seconds))
    if arguments.record:
        arguments.record.write_text(json.dumps(accepted))


if __name__ == "__main__":
    main()
