"""The mail catcher as a process of its own, for tests over real SMTP and HTTP."""

import contextlib
import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from local.settings import CHECKOUT
from tests.local.stub_stack import free_ports

PATIENCE_SECONDS = 120


class Catcher:
    def __init__(self, state: Path) -> None:
        self.ports = free_ports()
        self._environment = {**os.environ, **self.ports, "STATE_DIR": str(state)}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['CATCHER_HTTP_PORT']}")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", "local.mail_catcher"), cwd=CHECKOUT, env=self._environment, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/readyz").status_code == 200:
                    return
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", int(self.ports["CATCHER_SMTP_PORT"]))

    def messages(self, path: str = "/api/v1/messages", **parameters: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(path, params=parameters).raise_for_status().json()
        return found


@contextlib.contextmanager
def running(state: Path) -> Iterator[Catcher]:
    """A catcher that ends well when it is told to."""
    catcher = Catcher(state)
    try:
        yield catcher
    finally:
        catcher.http.close()
        catcher.process.terminate()
        assert catcher.process.wait(PATIENCE_SECONDS) == 0
