"""The two terminals of the tutorial, in a checkout whose `var` is a folder of the test's own."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from local.ports import pick_free
from local.settings import PORT_DEFAULTS
from tests.support.databases import ROOT
from tests.tutorial.page import Typed

PATIENCE_SECONDS = 300.0
_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR"}
_MARK = "--- that was it:"
# The environment of the tests is installed already; a rebuild would take it from under them.
_MAKE = 'make() { command make --old-file=.venv/.installed "$@"; }\n'


class Terminals:
    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "counterfoil"
        self.checkout.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in {"var", ".venv", ".git", ".env"}:
                (self.checkout / entry.name).symlink_to(entry)
        (self.checkout / "var").mkdir()
        # By its real path: as root, PostgreSQL runs as another user, who cannot look into this folder.
        python = self.checkout / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        ports = {name: str(pick_free()) for name in PORT_DEFAULTS}
        # A terminal of its own: to make, which runs the tests, its make would be a part of it and say so.
        environment = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
        self._environment = {**environment, **ports, "STATE_DIR": str(self.checkout / "var")}
        self._errors = (folder / "errors").open("a+")
        self._shown = folder / "first-terminal"
        self._first: subprocess.Popen[bytes] | None = None
        self._second = subprocess.Popen(
            [shutil.which("bash") or "bash"],
            cwd=self.checkout,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._put(_MAKE)

    def type_first(self, typed: Typed) -> str:
        """What it has printed once that is what the page says, or the time is up; after `^C`, once it has ended."""
        if typed.command == "^C":
            self._interrupt()
            return self._shown.read_text()
        with self._shown.open("w") as shown:
            self._first = subprocess.Popen(
                ["bash", "-c", _MAKE + typed.command],
                cwd=self.checkout,
                env=self._environment,
                stdout=shown,
                stderr=shown,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not typed.matches(output := self._shown.read_text()):
            if self._first.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return output

    def _interrupt(self) -> None:
        if self._first is not None and self._first.poll() is None:
            os.killpg(self._first.pid, signal.SIGINT)
            self._first.wait(PATIENCE_SECONDS)

    def type_second(self, typed: Typed) -> str:
        """What it printed. What only asks is asked again until it prints what the page says, as a reader would."""
        only_asks = typed.command.startswith("curl ") and " -d " not in typed.command
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, output = self._run(typed.command)
            if typed.matches(output) and status == "0":
                return output
            if not only_asks or time.monotonic() > deadline:
                self._errors.seek(0)
                return f"{output}\nexit status {status}\n{self._errors.read()}"

    def _run(self, command: str) -> tuple[str, str]:
        self._put(f"{command}\necho '{_MARK}' $?\n")
        assert self._second.stdout
        output = ""
        for line in self._second.stdout:
            printed, mark, status = line.partition(_MARK)
            output += printed
            if mark:
                return status.strip(), output
        return "the shell has ended", output

    def _put(self, text: str) -> None:
        assert self._second.stdin
        self._second.stdin.write(text)
        self._second.stdin.flush()

    def close(self) -> None:
        self._second.communicate(timeout=PATIENCE_SECONDS)
        self._errors.close()
        self._interrupt()
