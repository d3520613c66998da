"""Imports after a restore to an earlier time: pause them, skip addresses mailed since, resume them."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.support.apis import Api
from tests.support.databases import ROOT, Clone
from tests.support.imports import Imports, people
from tests.support.signups import SignupLedger

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(signup_database: Clone) -> Command:
    def run(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "services.signup", "imports", *words],
            cwd=ROOT,
            env={**os.environ, "SIGNUP_DATABASE_URL": signup_database.owner_url},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def _answers(result: "subprocess.CompletedProcess[str]") -> list[Any]:
    assert (result.returncode, result.stderr) == (0, "")
    return [orjson.loads(line) for line in result.stdout.splitlines()]


async def test_pause_stops_the_running_imports_of_every_client(
    signup_api: Api, imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    first = await imports.start(people(60))
    await imports.importer.run_once()
    async with await signup_api.as_client("other", ["users:import"]) as http:
        second = await Imports(http, imports.importer, imports.cleanup).start(people(5, start=100))
    assert [(row["id"], row["client"]) for row in _answers(command("list"))] == [(first, "acquirer"), (second, "other")]
    assert [(row["id"], row["state"]) for row in _answers(command("pause"))] == [(first, "paused"), (second, "paused")]
    assert await imports.importer.run_once() is False
    assert len(await ledger.rows("users")) == 20
    assert {row["actor"].partition(":")[0] for row in await ledger.rows("history", kind="import.paused")} == {"cli"}


async def test_skipped_addresses_are_not_created_when_the_import_resumes(
    imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    import_id = await imports.start(people(60))
    await imports.importer.run_once()
    command("pause")
    # Other spellings, an address that is already processed, and one that is not in the file.
    addresses = "PERSON-30@x.example\nperson-31@X.EXAMPLE\nperson-7@x.example\nunknown@x.example\n"
    assert _answers(command("skip", import_id, stdin=addresses)) == [{"id": import_id, "skipped": 2}]
    assert [row["state"] for row in _answers(command("resume", import_id))] == ["running"]
    await imports.work()
    users = {row["email"] for row in await ledger.rows("users")}
    assert users == {f"person-{n}@x.example" for n in range(1, 61) if n not in {30, 31}}
    assert len(await ledger.rows("outbox", effect="mail")) == 58
    excluded = await imports.rows(import_id, outcome="invalid")
    reason = "Mailed already, before the database was restored to an earlier time"
    assert [(row["line"], row["reason"]) for row in excluded] == [(30, reason), (31, reason)]
    (noted,) = await ledger.rows("history", kind="import.lines_skipped")
    assert (noted["subject"], noted["detail"]) == (import_id, {"lines": 2, "reason": reason})


async def test_skip_refuses_an_import_that_is_not_paused(
    imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    import_id = await imports.start(people(5))
    result = command("skip", import_id, stdin="person-3@x.example\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert "paused" in result.stderr
    await imports.work()
    assert len(await ledger.rows("users")) == 5
    assert command("resume", import_id).returncode == 1


async def test_a_line_that_is_not_an_address_is_reported_without_repeating_it(
    imports: Imports, command: Command
) -> None:
    import_id = await imports.start(people(5))
    command("pause")
    result = command("skip", import_id, stdin="person-3@x.example\nnot an address\n")
    assert result.stderr == "line 2 is not an e-mail address\n"
    assert orjson.loads(result.stdout)["skipped"] == 1
