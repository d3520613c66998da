"""The four processes of the present version, beside those of an earlier one that a stack runs."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT
from tests.support.stack import STOP_SECONDS, Stack

_PORTS = ("SIGNUP_PORT", "MAIL_PORT", "SIGNUP_OPERATIONS_PORT", "MAIL_OPERATIONS_PORT")


@dataclass
class Fleet:
    """On the databases, Valkey and gateway of `stack`, with ports of its own."""

    stack: Stack
    ports: dict[str, str] = field(default_factory=lambda: {name: str(pick_free()) for name in _PORTS})
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def signup_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SIGNUP_PORT']}"

    @property
    def mail_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['MAIL_PORT']}"

    def start(self, name: str, **settings: str) -> None:
        """Start a process; its MAIL_URL is that of the earlier version unless `settings` say otherwise."""
        service, _, role = name.partition("-")
        with self._log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*dies_with_parent("KILL"), sys.executable, "-m", f"services.{service}", role],
                cwd=ROOT,
                env=self.stack.environment | self.ports | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(STOP_SECONDS)

    def log_of(self, name: str) -> str:
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self.stack.directory / f"present-{name}.log"
