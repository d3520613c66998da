"""Controls Chromium over the DevTools protocol on a pair of pipes, without a driver.

The protocol: https://chromedevtools.github.io/devtools-protocol/. On pipes (`--remote-debugging-pipe`, file descriptors
3 and 4) its messages are JSON that ends in a zero byte, so no WebSocket and no package is needed.
"""

import fcntl
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import orjson

from local.process import dies_with_parent

from .page import Page

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # required as root, as in most containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--accept-lang=en",  # the tests read English pages, whatever this machine speaks
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # only the product is reachable
    "--remote-debugging-pipe",
)
# Only a failing test waits this long.
PATIENCE_SECONDS = 30.0
_ABOVE_THE_PIPES = 10


class BrowserError(Exception):
    """Chromium is missing, died, does not answer, or refused a command."""


def find() -> str:
    """Chromium's path: CHROMIUM, or the first of NAMES on PATH. Raises BrowserError when none is found."""
    wanted = os.environ.get("CHROMIUM")
    for name in (wanted,) if wanted else NAMES:
        if path := shutil.which(name):
            return path
    raise BrowserError(
        f"no Chromium: {wanted or ', '.join(NAMES)} not found. Install it (Debian: apt-get install chromium), "
        "or set CHROMIUM to its executable"
    )


class Chromium:
    """A browser with an empty profile in `directory`. It ends with `close()` or with this process."""

    def __init__(self, executable: str, directory: Path) -> None:
        child_in, self._out = _pipe()
        self._in, child_out = _pipe()
        with (directory / "chromium.log").open("wb") as log:
            plumbing = ("bash", "-c", f'exec "$@" 3<&{child_in} 4>&{child_out}', "bash")
            browser = (executable, *FLAGS, f"--user-data-dir={directory / 'profile'}", "about:blank")
            self._process = subprocess.Popen(
                [*dies_with_parent("KILL"), *plumbing, *browser],
                pass_fds=(child_in, child_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.close(child_in)
        os.close(child_out)
        self._unread = b""
        self._last_id = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._out)  # Chromium exits when its command pipe closes
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def page(self, *, width: int = 800, height: int = 520) -> Page:
        """A page in a new profile. Sizes are in CSS pixels."""
        profile = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=profile)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, width, height)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command. Keeps the events that arrive meanwhile. Raises BrowserError."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, orjson.dumps(message) + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") != self._last_id:
                self._events.append(answer)
                continue
            if "error" in answer:
                raise BrowserError(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result

    def wait_for(self, event: str, session: str) -> dict[str, Any]:
        """The parameters of the next `event`, which may already be among the kept ones. Raises BrowserError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen = 0
        while True:
            for message in self._events[seen:]:
                if message.get("method") == event and message.get("sessionId") == session:
                    self._events.remove(message)
                    found: dict[str, Any] = message["params"]
                    return found
            seen = len(self._events)
            self._events.append(self._read(deadline, event))

    def take(self, event: str, session: str) -> list[dict[str, Any]]:
        """Remove the kept `event`s of a page and return their parameters."""
        taken = [kept for kept in self._events if kept.get("method") == event and kept.get("sessionId") == session]
        self._events = [kept for kept in self._events if kept not in taken]
        return [kept["params"] for kept in taken]

    def _read(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"Chromium did not answer {what} within {PATIENCE_SECONDS} s")
            more = os.read(self._in, 1 << 16)
            if not more:
                raise BrowserError("Chromium exited; see chromium.log in its directory")
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        decoded: dict[str, Any] = orjson.loads(message)
        return decoded


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are above file descriptors 3 and 4, which the child uses."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _ABOVE_THE_PIPES) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
