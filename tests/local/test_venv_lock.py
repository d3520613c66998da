"""`make` and a stack that runs from `.venv`: the real Makefile, with empty requirements."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import venv_lock
from local.settings import CHECKOUT
from tests.local.test_stack import PATIENCE_SECONDS, Launcher, finish

MADE_BY_AN_OLDER_INSTALL = ".venv/older"


def make(checkout: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ("make", *arguments, f"PYTHON={sys.executable}"),
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """A checkout whose `.venv` is older than its requirements."""
    launcher = Launcher(tmp_path)
    checkout = launcher.checkout
    shutil.copy(CHECKOUT / "Makefile", checkout)
    (checkout / ".venv").mkdir()
    for name in (".installed", "older"):
        (checkout / ".venv" / name).touch()
    os.utime(checkout / ".venv" / ".installed", (1, 1))
    (checkout / "requirements").mkdir()
    for name in ("dev.txt", "uv.txt"):
        (checkout / "requirements" / name).touch()
    return launcher


@pytest.fixture
def stack(launcher: Launcher) -> Iterator["subprocess.Popen[str]"]:
    """The stack that runs from it."""
    process = launcher.start()
    launcher.facts()
    yield process
    if process.poll() is None:
        finish(process, signal.SIGTERM)


def test_make_rebuilds_the_environment_only_after_the_running_stack_has_stopped_and_says_why(
    launcher: Launcher, stack: "subprocess.Popen[str]"
) -> None:
    rebuild = make(launcher.checkout, "install")
    message = read_line(rebuild)
    assert "A requirements file is newer than .venv" in message
    assert f"in {launcher.state} (process {stack.pid})" in message
    assert (launcher.checkout / MADE_BY_AN_OLDER_INSTALL).exists()
    finish(stack, signal.SIGTERM)
    _, errors = rebuild.communicate(timeout=PATIENCE_SECONDS)
    assert rebuild.returncode == 0, errors
    assert not (launcher.checkout / MADE_BY_AN_OLDER_INSTALL).exists()


def test_make_clean_refuses_to_remove_the_environment_of_a_running_stack(
    launcher: Launcher, stack: "subprocess.Popen[str]"
) -> None:
    cleaning = make(launcher.checkout, "clean")
    assert f"in {launcher.state} (process {stack.pid})" in cleaning.communicate(timeout=PATIENCE_SECONDS)[1]
    assert cleaning.returncode != 0
    assert launcher.run_env.exists()
    assert (launcher.checkout / MADE_BY_AN_OLDER_INSTALL).exists()


def test_an_environment_that_another_make_has_rebuilt_meanwhile_is_not_rebuilt_again(tmp_path: Path) -> None:
    source, target = tmp_path / "dev.txt", tmp_path / ".installed"
    source.touch()
    fail = (sys.executable, "-c", "raise SystemExit(7)")
    assert venv_lock.rebuild(target, [source], fail, tmp_path) == 7
    target.touch()
    os.utime(target, (time.time() + 1, time.time() + 1))
    assert venv_lock.rebuild(target, [source], fail, tmp_path) == 0


def test_a_stack_does_not_start_while_the_environment_is_rebuilt(launcher: Launcher) -> None:
    ready, go_on = launcher.checkout / "rebuilding", launcher.checkout / "go on"
    os.mkfifo(ready)
    os.mkfifo(go_on)
    rebuild = subprocess.Popen(
        (
            sys.executable,
            "-m",
            "local.venv_lock",
            "rebuild",
            "nothing",
            "--",
            "sh",
            "-c",
            'echo > rebuilding; cat "go on"',
        ),
        cwd=launcher.checkout,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    ready.read_text()
    start = launcher.start()
    output, _ = start.communicate(timeout=PATIENCE_SECONDS)
    go_on.write_text("")
    assert rebuild.wait(PATIENCE_SECONDS) == 0
    assert start.returncode == 1
    assert "error: `make` is rebuilding .venv; start again when it has ended" in output
