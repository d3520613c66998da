"""Supervision, with stand-ins for the services. Everything else is real."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from local import lock, runenv
from local.process import has_setpriv, is_alive
from local.settings import CHECKOUT
from tests.local.stub_stack import ODD_VALUE, free_ports

PATIENCE_SECONDS = 120  # for a busy machine


Facts = dict[str, str]


class Launcher:
    """`make run` with stand-ins, in a checkout with an awkward name. Leaving it kills what a failed test left."""

    def __init__(self, folder: Path, state: str = "") -> None:
        self.checkout = folder / "an odd % name; #1"
        self.state = self.checkout / (state or "var")
        self.run_env = self.state / "run.env"
        self.environment = {"STATE_DIR": state} if state else {}
        self.started: list[subprocess.Popen[str]] = []
        if not self.checkout.exists():
            self.checkout.mkdir()
            (self.checkout / "local").symlink_to(CHECKOUT / "local")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            if process.poll() is None:
                finish(process, signal.SIGKILL)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("stub_stack.py")
        process = subprocess.Popen(
            (sys.executable, str(script), str(self.checkout)),
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **free_ports(), **self.environment, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def facts(self) -> Facts:
        """The facts of the stack, once it is ready."""
        until(self.run_env.exists)
        return runenv.read(self.run_env)

    def pid(self, variable: str) -> int:
        return int(self.facts()[variable])

    def new_pid(self, variable: str, old: int) -> int:
        until(lambda: self.pid(variable) != old)
        return self.pid(variable)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def living(facts: Facts) -> list[str]:
    return [name for name, value in facts.items() if name.startswith("PID_") and is_alive(int(value))]


def finish(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return output


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher(tmp_path_factory.mktemp("running")) as launcher:
        process = launcher.start()
        launcher.facts()
        yield launcher
        finish(process, signal.SIGTERM)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    with Launcher(tmp_path) as made:
        yield made


@pytest.mark.parametrize("variable", ["PID_SIGNUP_API", "PID_CATCHER", "PID_POSTGRES", "PID_VALKEY"])
def test_a_killed_process_comes_back_and_run_env_names_the_new_one(running: Launcher, variable: str) -> None:
    before = running.pid(variable)
    os.kill(before, signal.SIGKILL)
    assert is_alive(running.new_pid(variable, before))


def test_processes_get_exactly_their_own_values(running: Launcher) -> None:
    environment = Path(f"/proc/{running.pid('PID_MAIL_WORKER')}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")
    pairs = dict(pair.split("=", 1) for pair in environment.read_text().split("\0") if pair)
    assert pairs["ODD_VALUE"] == ODD_VALUE
    assert pairs["MAIL_API_KEY"] == "cf_signup"
    assert not {"SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL", "POSTGRES_URL", "OPERATOR_KEY"} & set(pairs)


def test_run_env_has_every_variable_and_only_its_owner_can_read_it(running: Launcher) -> None:
    assert list(running.facts()) == list(runenv.VARIABLES)
    assert all(running.facts().values())
    assert running.run_env.stat().st_mode & 0o777 == 0o600


def test_a_second_stack_in_the_same_state_directory_is_refused(running: Launcher) -> None:
    second = running.start()
    output, _ = second.communicate(timeout=PATIENCE_SECONDS)
    assert second.returncode == 1
    assert "already running" in output
    assert running.run_env.exists()


def test_two_stacks_of_one_checkout_have_a_run_env_each(running: Launcher) -> None:
    first = running.facts()
    with Launcher(running.checkout.parent, "another state") as second:
        process = second.start()
        assert second.facts()["PID_MAIL_API"] != first["PID_MAIL_API"]
        assert running.facts() == first
        finish(process, signal.SIGTERM)
    assert not second.run_env.exists()
    assert running.facts() == first


# After those that compare run.env: its worker may still be one that is about to die.
def test_a_process_that_dies_at_once_is_restarted_for_ever(running: Launcher) -> None:
    broken = running.state / "broken"
    log = running.state / "log" / "signup-worker.log"
    broken.touch()
    deaths = log.read_text().count("broken")
    os.kill(running.pid("PID_SIGNUP_WORKER"), signal.SIGKILL)
    until(lambda: log.read_text().count("broken") >= deaths + 4)
    broken.unlink()
    until(lambda: is_alive(running.pid("PID_SIGNUP_WORKER")))


def test_everything_comes_back_when_supervisord_is_killed(running: Launcher) -> None:
    if not has_setpriv():
        pytest.skip("without setpriv, children outlive their parent")
    before = running.facts()
    os.kill(int((running.state / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    for variable in ("PID_POSTGRES", "PID_VALKEY", "PID_MAIL_API"):
        assert is_alive(running.new_pid(variable, int(before[variable])))


def test_state_survives_ctrl_c_and_a_shell_that_has_read_run_env(launcher: Launcher) -> None:
    process = launcher.start()
    facts = launcher.facts()
    finish(process, signal.SIGINT)
    assert process.returncode == 0
    assert not living(facts)
    assert not launcher.run_env.exists()
    assert not lock.is_held(launcher.state)

    again = launcher.start(**facts)
    kept = ("SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL", "POSTGRES_URL", "REDIS_URL")
    assert [launcher.facts()[name] for name in kept] == [facts[name] for name in kept]
    assert int(launcher.facts()["PID_POSTGRES"])
    finish(again, signal.SIGTERM)
    assert again.returncode == 0


@pytest.mark.parametrize(
    ("file", "lives_for_seconds", "name"), [("broken", "", "signup-worker"), ("broken-api", "1.1", "mail-api")]
)
def test_a_start_fails_with_the_log_of_the_program_that_keeps_ending(
    launcher: Launcher, file: str, lives_for_seconds: str, name: str
) -> None:
    log = launcher.state / "log" / f"{name}.log"
    log.parent.mkdir(parents=True)
    log.write_text("output of an earlier run\n")
    (launcher.state / file).write_text(lives_for_seconds)
    (launcher.state / "unready").touch()  # else a worker that is slow to die is up for a moment, and that is enough
    process = launcher.start()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert output.strip().splitlines()[-2:] == [f"error: {name} keeps ending. The end of its log:", "broken"]
    assert not launcher.run_env.exists()
    assert not lock.is_held(launcher.state)


def test_all_processes_end_with_a_killed_launcher_and_the_next_one_starts(launcher: Launcher) -> None:
    if not has_setpriv():
        pytest.skip("without setpriv, children outlive their parent")
    process = launcher.start()
    facts = launcher.facts()
    finish(process, signal.SIGKILL)
    again = launcher.start()  # waits for what the first one left behind
    until(lambda: not living(facts))
    until(lambda: launcher.facts()["PID_POSTGRES"] != facts["PID_POSTGRES"])
    finish(again, signal.SIGTERM)


def test_a_taken_port_is_named_with_its_variable_and_nothing_is_left_running(launcher: Launcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = launcher.start(MAIL_PORT=port)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert re.search(rf"{port} is taken.*MAIL_PORT", output)
    assert not lock.is_held(launcher.state)
