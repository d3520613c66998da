"""`python -m services.<service> check` says what a container's health check needs to know."""

import subprocess
import sys

import asyncpg
import pytest

from tests.support.databases import ROOT
from tests.support.stack import Ledgers, eventually


def _check(ledgers: Ledgers, service: str, *process: str) -> tuple[int, str]:
    command = [sys.executable, "-m", f"services.{service}", "check", *process]
    environment = ledgers.stack.environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_a_process_that_works_is_healthy_and_one_that_was_killed_is_not(ledgers: Ledgers, service: str) -> None:
    owner = await asyncpg.connect(ledgers.stack.owner_url(service))
    beats = f"SELECT count(*) FROM heartbeats WHERE process LIKE '{service}-worker/%'"
    await eventually(lambda: owner.fetchval(beats), bool, what="a heartbeat")
    assert _check(ledgers, service, "api") == (0, "")
    assert _check(ledgers, service, "worker") == (0, "")

    ledgers.stack.kill(f"{service}-api")
    ledgers.stack.kill(f"{service}-worker")
    await owner.execute("UPDATE heartbeats SET at = at - interval '21 seconds'")
    code, words = _check(ledgers, service, "api")
    assert (code, words.startswith(f"{service} api: no answer on port ")) == (1, True)
    assert _check(ledgers, service, "worker") == (1, f"{service} worker: no heartbeat of this host within 20 seconds\n")

    # The heartbeat of another host's worker says nothing about this one.
    await owner.execute(
        "INSERT INTO heartbeats (process, at, detail) VALUES ($1, now(), '{}')", f"{service}-worker/x:1"
    )
    assert _check(ledgers, service, "worker")[0] == 1
    await owner.close()


async def test_a_process_without_its_database_is_not_healthy(ledgers: Ledgers) -> None:
    ledgers.stack.kill_server("postgres")
    code, words = _check(ledgers, "mail", "api")
    assert (code, words) == (1, "mail api: not ready (503): it cannot use its database\n")
    code, words = _check(ledgers, "mail", "worker")
    assert (code, words.startswith("mail worker: its heartbeat cannot be read: ")) == (1, True)


async def test_a_word_that_names_no_process_is_bad_usage(ledgers: Ledgers) -> None:
    assert _check(ledgers, "mail", "gateway")[0] == 2
