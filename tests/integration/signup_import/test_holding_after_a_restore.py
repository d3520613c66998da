"""Imports of a ledger that was restored to an earlier time: held by command, rid of whom they mailed since, let go on."""

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


def _answers(said: "subprocess.CompletedProcess[str]") -> list[Any]:
    assert (said.returncode, said.stderr) == (0, "")
    return [orjson.loads(line) for line in said.stdout.splitlines()]


async def test_every_running_import_is_paused_whichever_clients_it_is_and_nobody_is_brought_in(
    signup_api: Api, imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    first = await imports.start(people(60))
    await imports.importer.run_once()
    async with await signup_api.as_client("other", ["users:import"]) as http:
        second = await Imports(http, imports.importer, imports.sweep).start(people(5, start=100))
    assert [(one["id"], one["client"]) for one in _answers(command("list"))] == [
        (first, "acquirer"),
        (second, "other"),
    ]
    assert [(one["id"], one["state"]) for one in _answers(command("pause"))] == [
        (first, "paused"),
        (second, "paused"),
    ]
    assert await imports.importer.run_once() is False
    assert len(await ledger.rows("users")) == 20
    assert {row["actor"].partition(":")[0] for row in await ledger.rows("history", kind="import.paused")} == {"cli"}


async def test_whoever_is_skipped_is_not_brought_in_when_the_import_goes_on(
    imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    import_id = await imports.start(people(60))
    await imports.importer.run_once()
    command("pause")
    # In another spelling; before the place where the import stands; and of nobody in the file.
    addresses = "PERSON-30@x.example\nperson-31@X.EXAMPLE\nperson-7@x.example\nnobody@x.example\n"
    assert _answers(command("skip", import_id, stdin=addresses)) == [{"id": import_id, "skipped": 2}]
    assert [one["state"] for one in _answers(command("resume", import_id))] == ["running"]
    await imports.work()
    users = {row["email"] for row in await ledger.rows("users")}
    assert users == {f"person-{n}@x.example" for n in range(1, 61) if n not in {30, 31}}
    assert len(await ledger.rows("outbox", effect="mail")) == 58
    left_out = await imports.rows(import_id, outcome="invalid")
    reason = "Mailed already, before the database was restored to an earlier time"
    assert [(row["line"], row["reason"]) for row in left_out] == [(30, reason), (31, reason)]
    (noted,) = await ledger.rows("history", kind="import.lines_skipped")
    assert (noted["subject"], noted["detail"]) == (import_id, {"lines": 2, "reason": reason})


async def test_of_an_import_that_is_not_paused_nobody_is_skipped(
    imports: Imports, ledger: SignupLedger, command: Command
) -> None:
    import_id = await imports.start(people(5))
    said = command("skip", import_id, stdin="person-3@x.example\n")
    assert (said.returncode, said.stdout) == (1, "")
    assert "paused" in said.stderr
    await imports.work()
    assert len(await ledger.rows("users")) == 5
    assert command("resume", import_id).returncode == 1


async def test_what_is_no_address_is_said_without_repeating_it(imports: Imports, command: Command) -> None:
    import_id = await imports.start(people(5))
    command("pause")
    said = command("skip", import_id, stdin="person-3@x.example\nnot an address\n")
    assert said.stderr == "line 2 is no address\n"
    assert orjson.loads(said.stdout)["skipped"] == 1
